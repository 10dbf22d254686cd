// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

import (
	"bytes"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/pve"
)

// TestRest walks through what the traces and the other tests leave out: each
// step's answer holds a text.
func TestRest(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true, Nodes: []string{"pve1", "pve2"}, Guests: []pve.GuestSpec{
		{VMID: 101, Kind: "lxc", Config: plain, Running: true},
		{VMID: 201, Kind: "qemu", Config: "agent: 1\nmemory: 512\nname: v\nnet0: virtio=BC:24:11:00:00:03,bridge=vmbr0\nscsi0: local-lvm:vm-201-disk-0,size=4G\n", Running: true},
	}})
	a := asRootToken(t, s)
	const lxc, qemu = "/nodes/pve1/lxc/101", "/nodes/pve1/qemu/201"
	for _, tc := range []struct {
		reason, request string
		params          []string
		want            string
		exit            string
	}{
		{"the nodes", "GET /nodes", nil, `"ssl_fingerprint"`, ""},
		{"a node's parts", "GET /nodes/pve1", nil, `{"subdir":"lxc"}`, ""},
		{"a node's status", "GET /nodes/pve1/status", nil, `"loadavg":["`, ""},
		{"localhost is the node that is asked", "GET /nodes/localhost/lxc/101/config", nil, `"hostname":"a"`, ""},
		{"bridges", "GET /nodes/pve1/network", []string{"type=any_bridge"}, `"iface":"vmbr0"`, ""},
		{"one bridge", "GET /nodes/pve1/network/vmbr0", nil, `"cidr":"10.0.0.13/24"`, ""},
		{"no such interface", "GET /nodes/pve1/network/vmbr9", nil, "interface does not exist", ""},
		{"the cluster", "GET /cluster/status", nil, `"quorate":1`, ""},
		{"containers of a node", "GET /nodes/pve1/lxc", nil, `"status":"running"`, ""},
		{"no containers of another", "GET /nodes/pve2/lxc", nil, `{"data":[]}`, ""},
		{"storages of a node", "GET /nodes/pve1/storage", []string{"content=rootdir"}, `"storage":"local-lvm"`, ""},
		{"storages", "GET /storage", nil, `"thinpool":"data"`, ""},
		{"a storage", "GET /storage/local", nil, `"path":"/var/lib/vz"`, ""},
		{"no such storage", "GET /storage/nope", nil, "storage 'nope' does not exist", ""},
		{"templates", "GET /nodes/pve1/storage/local/content", []string{"content=vztmpl"}, `"format":"tzst"`, ""},
		{"volumes of a guest", "GET /nodes/pve1/storage/local-lvm/content", []string{"vmid=101"}, `"volid":"local-lvm:vm-101-disk-0"`, ""},
		{"a download", "POST /nodes/pve1/storage/local/download-url", []string{"content=iso", "filename=y.iso", "url=https://example.org/y.iso"}, "download:y.iso", "OK"},
		{"a download that is not reachable", "POST /nodes/pve1/storage/local/download-url", []string{"content=iso", "filename=z.iso", "url=http://127.0.0.1:9/z.iso"}, "download:z.iso", "download failed: exit code 4"},
		{"what was downloaded", "GET /nodes/pve1/storage/local/content", []string{"content=iso"}, `"volid":"local:iso/y.iso"`, ""},
		{"an HA resource", "POST /cluster/ha/resources", []string{"sid=ct:101"}, `{"data":null}`, ""},
		{"it is there once", "POST /cluster/ha/resources", []string{"sid=ct:101"}, "already defined", ""},
		{"it is shown", "GET /cluster/ha/resources/ct:101", nil, `"state":"started"`, ""},
		{"in the status too", "GET /cluster/ha/status/current", nil, "service:ct:101", ""},
		{"it guards its guest", "DELETE " + lxc, nil, "used in HA resources", ""},
		{"it goes", "DELETE /cluster/ha/resources/ct:101", nil, `{"data":null}`, ""},
		{"it went", "GET /cluster/ha/resources", nil, `{"data":[]}`, ""},
		{"a pool", "POST /pools", []string{"poolid=p1", "comment=mine"}, `{"data":null}`, ""},
		{"with a guest", "PUT /pools", []string{"poolid=p1", "vms=101"}, `{"data":null}`, ""},
		{"it is shown", "GET /pools/p1", nil, `"vmid":101`, ""},
		{"it is not empty", "DELETE /pools/p1", nil, "is not empty", ""},
		{"the guest leaves it", "PUT /pools", []string{"poolid=p1", "vms=101", "delete=1"}, `{"data":null}`, ""},
		{"it goes", "DELETE /pools/p1", nil, `{"data":null}`, ""},
		{"a user", "POST /access/users", []string{"userid=bob@pve", "password=bobpass1"}, `{"data":null}`, ""},
		{"a token", "POST /access/users/bob@pve/token/ci", nil, `"full-tokenid":"bob@pve!ci"`, ""},
		{"tokens", "GET /access/users/bob@pve/token", nil, `"tokenid":"ci"`, ""},
		{"one token", "GET /access/users/bob@pve/token/ci", nil, `"privsep":1`, ""},
		{"the user with it", "GET /access/users/bob@pve", nil, `"tokens":{"ci"`, ""},
		{"users", "GET /access/users", nil, `"userid":"bob@pve"`, ""},
		{"the token goes", "DELETE /access/users/bob@pve/token/ci", nil, `{"data":null}`, ""},
		{"the user goes", "DELETE /access/users/bob@pve", nil, `{"data":null}`, ""},
		{"own privileges", "GET /access/permissions", []string{"path=/vms"}, `"VM.Audit":1`, ""},
		{"a snapshot", "POST " + lxc + "/snapshot", []string{"snapname=s1", "description=before"}, "vzsnapshot", "OK"},
		{"its configuration", "GET " + lxc + "/snapshot/s1/config", nil, `"snaptime"`, ""},
		{"the same by the configuration", "GET " + lxc + "/config", []string{"snapshot=s1"}, `"hostname":"a"`, ""},
		{"it goes", "DELETE " + lxc + "/snapshot/s1", nil, "vzdelsnapshot", "OK"},
		{"a reboot", "POST " + lxc + "/status/reboot", nil, "vzreboot", "OK"},
		{"a VM's reboot", "POST " + qemu + "/status/reboot", nil, "qmreboot", "OK"},
		{"a pause", "POST " + qemu + "/status/suspend", nil, "qmsuspend", "OK"},
		{"it is paused", "GET " + qemu + "/status/current", nil, `"qmpstatus":"paused"`, ""},
		{"and goes on", "POST " + qemu + "/status/resume", nil, "qmresume", "OK"},
		{"a second disk", "PUT " + qemu + "/config", []string{"scsi1=local-lvm:1"}, `{"data":null}`, ""},
		{"is unlinked with its volume", "PUT " + qemu + "/unlink", []string{"idlist=scsi1", "force=1"}, `{"data":null}`, ""},
		{"which is gone", "GET /nodes/pve1/storage/local-lvm/content", []string{"vmid=201"}, `vm-201-disk-0`, ""},
		{"cloud-init of a user", "GET " + qemu + "/cloudinit/dump", []string{"type=user"}, "#cloud-config", ""},
		{"a migration to itself", "POST " + qemu + "/migrate", []string{"target=pve1"}, "target is local node.", ""},
		{"a migration of a running VM", "POST " + qemu + "/migrate", []string{"target=pve2"}, "can't migrate running VM without --online", ""},
		{"a live migration", "POST " + qemu + "/migrate", []string{"target=pve2", "online=1"}, "qmigrate", "OK"},
		{"it is there now", "GET /nodes/pve2/qemu/201/status/current", nil, `"status":"running"`, ""},
		{"a template of a running container", "POST " + lxc + "/template", nil, "if the CT is running", ""},
		{"a forced destruction", "DELETE " + lxc, []string{"force=1", "purge=1"}, "vzdestroy", "OK"},
		{"every task", "GET /cluster/tasks", nil, `"type":"vzdestroy"`, ""},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			a.t = t
			got := a.ask(tc.request, tc.params...)
			if !strings.Contains(got.body, tc.want) {
				t.Errorf("%s %v: %s %s, want %q in it", tc.request, tc.params, got.status, got.body, tc.want)
			}
			upid, isTask := got.data.(string)
			if tc.exit == "" || !isTask {
				return
			}
			if exit := a.wait(upid); exit != tc.exit {
				t.Errorf("%s %v: the task ended with %q, want %q", tc.request, tc.params, exit, tc.exit)
			}
		})
	}
	if g, _ := s.Guest(201); g.Options["scsi1"] != "" || len(g.Volumes) != 1 {
		t.Errorf("after the unlinking: %v", g.Volumes)
	}
}

func TestUpload(t *testing.T) {
	s := start(t, pve.Options{NoSSH: true})
	a := asRootToken(t, s)
	for _, tc := range []struct{ reason, content, want string }{
		{"an image", "iso", "200 OK"},
		{"snippets cannot be uploaded", "snippets", "400 Parameter verification failed."},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			if err := form.WriteField("content", tc.content); err != nil {
				t.Fatal(err)
			}
			file, err := form.CreateFormFile("filename", "x.iso")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.Write([]byte("12345")); err != nil {
				t.Fatal(err)
			}
			if err := form.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := a.raw("POST", s.URL+"/api2/json/nodes/phoenix/storage/local/upload", form.FormDataContentType(), &body)
			if err != nil || got.status != tc.want {
				t.Fatalf("%q %s, %v; want %q", got.status, got.body, err, tc.want)
			}
			if upid, ok := got.data.(string); ok {
				a.wait(upid)
				if got := a.ask("GET /nodes/phoenix/storage/local/content", "content=iso"); !strings.Contains(got.body, `"size":5,`) {
					t.Errorf("after the upload: %s", got.body)
				}
			}
		})
	}
}
