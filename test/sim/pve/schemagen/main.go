// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Command schemagen turns a Proxmox VE API schema (one JSON object: path ->
// verb -> description) into the simulator's table: one line for each method
// that the simulator knows, "VERB path<TAB>{json}", sorted.
//
//	go run ./schemagen path/to/schema.json schema.table
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"sort"
	"strings"
)

// wanted names the methods that the simulator implements.
var wanted = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`GET /version`,
	`(GET|PUT) /access/acl`,
	`GET /access/(domains|permissions|roles)`,
	`(GET|POST) /access/(ticket|users)`,
	`(GET|DELETE) /access/users/\{userid\}`,
	`GET /access/users/\{userid\}/token`,
	`(GET|POST|DELETE) /access/users/\{userid\}/token/\{tokenid\}`,
	`GET /cluster/(resources|status|tasks|nextid)`,
	`(GET|POST) /cluster/ha/resources`,
	`(GET|DELETE) /cluster/ha/resources/\{sid\}`,
	`POST /cluster/ha/resources/\{sid\}/migrate`,
	`GET /cluster/ha/status/current`,
	`(GET|PUT) (/cluster|/nodes/\{node\}(/(lxc|qemu)/\{vmid\})?)/firewall/options`,
	`(GET|POST) (/cluster|/nodes/\{node\}(/(lxc|qemu)/\{vmid\})?)/firewall/rules`,
	`(GET|PUT|DELETE) (/cluster|/nodes/\{node\}(/(lxc|qemu)/\{vmid\})?)/firewall/rules/\{pos\}`,
	`(GET|POST) (/cluster|/nodes/\{node\}/(lxc|qemu)/\{vmid\})/firewall/ipset`,
	`(GET|POST|DELETE) (/cluster|/nodes/\{node\}/(lxc|qemu)/\{vmid\})/firewall/ipset/\{name\}`,
	`(GET|PUT|DELETE) (/cluster|/nodes/\{node\}/(lxc|qemu)/\{vmid\})/firewall/(aliases/\{name\}|ipset/\{name\}/\{cidr\})`,
	`(GET|POST) (/cluster|/nodes/\{node\}/(lxc|qemu)/\{vmid\})/firewall/aliases`,
	`GET (/cluster|/nodes/\{node\}/(lxc|qemu)/\{vmid\})/firewall/refs`,
	`GET /nodes/\{node\}(/(lxc|qemu)/\{vmid\})?/firewall/log`,
	`GET /cluster/firewall/macros`,
	`(GET|POST) /cluster/firewall/groups`,
	`(GET|POST|DELETE) /cluster/firewall/groups/\{group\}`,
	`(GET|PUT|DELETE) /cluster/firewall/groups/\{group\}/\{pos\}`,
	`GET /nodes(/\{node\}(/(status|version|network|tasks|storage))?)?`,
	`GET /nodes/\{node\}/network/\{iface\}`,
	`DELETE /nodes/\{node\}/tasks/\{upid\}`,
	`GET /nodes/\{node\}/tasks/\{upid\}/(log|status)`,
	`(GET|POST) /nodes/\{node\}/(lxc|qemu)`,
	`(GET|DELETE) /nodes/\{node\}/(lxc|qemu)/\{vmid\}`,
	`POST /nodes/\{node\}/(lxc|qemu)/\{vmid\}/(clone|template|migrate)`,
	`(GET|PUT) /nodes/\{node\}/(lxc|qemu)/\{vmid\}/config`,
	`POST /nodes/\{node\}/qemu/\{vmid\}/config`,
	`GET /nodes/\{node\}/(lxc|qemu)/\{vmid\}/(feature|pending|status|status/current)`,
	`GET /nodes/\{node\}/lxc/\{vmid\}/interfaces`,
	`PUT /nodes/\{node\}/(lxc|qemu)/\{vmid\}/resize`,
	`POST /nodes/\{node\}/(lxc|qemu)/\{vmid\}/status/(start|stop|shutdown|reboot|suspend|resume)`,
	`(GET|POST) /nodes/\{node\}/(lxc|qemu)/\{vmid\}/snapshot`,
	`DELETE /nodes/\{node\}/(lxc|qemu)/\{vmid\}/snapshot/\{snapname\}`,
	`GET /nodes/\{node\}/(lxc|qemu)/\{vmid\}/snapshot/\{snapname\}/config`,
	`POST /nodes/\{node\}/(lxc|qemu)/\{vmid\}/snapshot/\{snapname\}/rollback`,
	`POST /nodes/\{node\}/qemu/\{vmid\}/agent/(exec|file-write|ping)`,
	`GET /nodes/\{node\}/qemu/\{vmid\}/agent/(exec-status|file-read|network-get-interfaces|get-host-name|get-osinfo)`,
	`PUT /nodes/\{node\}/qemu/\{vmid\}/unlink`,
	`GET /nodes/\{node\}/qemu/\{vmid\}/cloudinit/dump`,
	`GET /nodes/\{node\}/storage/\{storage\}/(status|content)`,
	`POST /nodes/\{node\}/storage/\{storage\}/(content|download-url|upload)`,
	`(GET|DELETE) /nodes/\{node\}/storage/\{storage\}/content/\{volume\}`,
	`GET /storage(/\{storage\})?`,
	`(GET|POST|PUT|DELETE) /pools`,
	`(GET|DELETE) /pools/\{poolid\}`,
}, "|") + `)$`)

type property struct {
	Type      string   `json:"type,omitempty"`
	Format    any      `json:"format,omitempty"`
	Enum      []string `json:"enum,omitempty"`
	Minimum   any      `json:"minimum,omitempty"`
	Maximum   any      `json:"maximum,omitempty"`
	MinLength int      `json:"minLength,omitempty"`
	MaxLength int      `json:"maxLength,omitempty"`
	Pattern   string   `json:"pattern,omitempty"`
	Requires  string   `json:"requires,omitempty"`
	Optional  any      `json:"optional,omitempty"`
}

type method struct {
	AllowToken  int             `json:"allowtoken"`
	Permissions json.RawMessage `json:"permissions"`
	Protected   int             `json:"protected"`
	ProxyTo     string          `json:"proxyto"`
	Parameters  struct {
		Properties map[string]property `json:"properties"`
	} `json:"parameters"`
}

type row struct {
	Check   json.RawMessage     `json:"perm,omitempty"`
	NoToken bool                `json:"noToken,omitempty"`
	Daemon  bool                `json:"daemon,omitempty"`
	Proxy   bool                `json:"proxy,omitempty"`
	Props   map[string]property `json:"props,omitempty"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: schemagen schema.json schema.table")
		os.Exit(2)
	}
	if os.Args[1] == "" {
		fmt.Fprintln(os.Stderr, "schemagen: no schema is named (PVE_SCHEMA): the table stays as it is")
		return
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	var schema map[string]map[string]method
	if err := json.Unmarshal(raw, &schema); err != nil {
		return fmt.Errorf("decode schema: %w", err)
	}
	var lines []string
	for path, verbs := range schema {
		for verb, m := range verbs {
			if !wanted.MatchString(verb + " " + path) {
				continue
			}
			line, err := encode(m)
			if err != nil {
				return fmt.Errorf("encode %s %s: %w", verb, path, err)
			}
			lines = append(lines, verb+" "+path+"\t"+line)
		}
	}
	sort.Strings(lines)
	if err := os.WriteFile(to, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil { // a source file of the repository, readable by all
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func encode(m method) (string, error) {
	for name, p := range m.Parameters.Properties {
		p.Pattern = pattern(p.Pattern)
		if short, found := strings.CutSuffix(p.Pattern, "{0,4096}"); found { // more than Go's expressions count
			p.Pattern, p.MaxLength = short+"*", 4096
		}
		if _, inline := p.Format.(map[string]any); inline {
			p.Format = "property-string"
		}
		if p.Optional != nil {
			p.Optional = 1
		}
		m.Parameters.Properties[name] = p
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(row{
		Check: m.Permissions, NoToken: m.AllowToken == 0, Daemon: m.Protected != 0,
		Proxy: m.ProxyTo != "", Props: m.Parameters.Properties,
	})
	if err != nil {
		return "", err
	}
	compact := new(bytes.Buffer)
	if err := json.Compact(compact, out.Bytes()); err != nil {
		return "", err
	}
	return compact.String(), nil
}

// pattern rewrites the parts of a Perl expression that Go spells differently.
func pattern(perl string) string {
	return strings.NewReplacer("(?^:", "(?:", "(?^i:", "(?i:", `\0`, `\x00`).Replace(perl)
}
