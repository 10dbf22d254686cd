// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

func uploadFile(c *call) (any, error) {
	st, err := c.storage()
	if err != nil {
		return nil, err
	}
	content, name := c.params["content"], c.params["filename"]
	var size int64
	_, _ = fmt.Sscanf(c.params["tmpfilename"], "/var/tmp/pveupload-%x", &size) // no file, no size
	if !st.takes(content) {
		return nil, failf("storage '%s' is not configured for content-type '%s'", st.Name, content)
	}
	node := c.node
	return c.spawn(c.user, work{node: node, kind: "imgcopy", steps: []step{{
		takes: time.Second, do: func(*task) error { c.putFile(st, node, content, name, size); return nil },
	}}}), nil
}

// readUpload reads a multipart upload: the fields, and the file's name and size.
func readUpload(r *http.Request, out map[string]string) error {
	reader, err := r.MultipartReader()
	if err != nil {
		return bareError(http.StatusBadRequest, "bad request")
	}
	for {
		part, err := reader.NextPart()
		if err != nil {
			return nil // the end of the parts
		}
		if err := readPart(part, out); err != nil {
			return err
		}
	}
}

func readPart(part *multipart.Part, out map[string]string) error {
	buf := make([]byte, 32<<10)
	var text strings.Builder
	var size int64
	for {
		n, err := part.Read(buf)
		size += int64(n)
		if part.FileName() == "" {
			text.Write(buf[:n])
		}
		if err != nil {
			break
		}
	}
	if part.FileName() != "" {
		out["filename"], out["tmpfilename"] = part.FileName(), fmt.Sprintf("/var/tmp/pveupload-%x", size)
		return nil
	}
	out[part.FormName()] = strings.TrimSpace(text.String())
	return nil
}
