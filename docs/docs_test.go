// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package docs_test keeps the pages and the code together.
package docs_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/phoenix-hypervisor/phoenix/api/v1alpha1"
)

// reasonWord is what a condition's type or reason looks like.
var reasonWord = regexp.MustCompile("^[A-Z][A-Za-z]*[a-z]$")

// TestEveryReasonIsExplained has a remedy for whatever a status may say.
func TestEveryReasonIsExplained(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		code   string // files with the words
		pages  []string
		known  string // one of the words, so that an empty list does not pass
	}{
		"the loop":       {"they are the same for every kind", "../api/v1alpha1/conditions.go", []string{"certificate.md", "dockerstack.md", "guest.md", "host.md", "hostservice.md", "route.md"}, "ApprovalRequired"},
		"Guest":          {"the page of the kind says what each means and what to do", "../controllers/guest/reason.go", []string{"guest.md"}, "ShrinkRefused"},
		"Guest's failed": {"a task's failure has a reason of its own", "../controllers/guest/reason.go", []string{"guest.md"}, "CreateFailed"},
		"Host":           {"the page of the kind says what each means and what to do", "../controllers/host/*.go", []string{"host.md"}, "HostKeyMismatch"},
		"HostService":    {"the page of the kind says what each means and what to do", "../controllers/hostservice/*reason.go", []string{"hostservice.md"}, "RolledBack"},
		"Certificate":    {"the page of the kind says what each means and what to do", "../controllers/certificate/reason.go", []string{"certificate.md"}, "SecretTaken"},
		"DockerStack":    {"the page of the kind says what each means and what to do", "../controllers/dockerstack/reason.go", []string{"dockerstack.md"}, "RolledBack"},
		"Route":          {"the page of the kind says what each means and what to do", "../controllers/route/reason.go", []string{"route.md"}, "RejectedByRouter"},
		"trust":          {"Guests and Hosts say the same of it", "../controllers/authority/*.go", []string{"guest.md"}, "WaitingForAuthority"},
		"Host's trust":   {"Guests and Hosts say the same of it", "../controllers/authority/*.go", []string{"host.md"}, "WaitingForAuthority"},
		"Host's Secrets": {"what is wrong with a Secret is the Host's to say", "../controllers/site/config.go", []string{"host.md"}, "SecretMissing"},
	} {
		t.Run(name, func(t *testing.T) {
			words := reasonsIn(t, tc.code)
			if !slices.Contains(words, tc.known) {
				t.Fatalf("%s says %v, not %s among them", tc.code, words, tc.known)
			}
			var text strings.Builder
			for _, page := range tc.pages {
				text.WriteString(read(t, page))
			}
			for _, word := range words {
				if !strings.Contains(text.String(), "`"+word+"`") {
					t.Errorf("%v does not explain %s: %s", tc.pages, word, tc.reason)
				}
			}
		})
	}
}

// reasonsIn are the words among the constants of Go files, and among the values of their maps.
func reasonsIn(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	note := func(e ast.Expr) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return
		}
		if word, err := strconv.Unquote(lit.Value); err == nil && reasonWord.MatchString(word) {
			words[word] = true
		}
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			declared, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			ast.Inspect(declared, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					if declared.Tok == token.CONST {
						for _, value := range n.Values {
							note(value)
						}
					}
				case *ast.KeyValueExpr:
					note(n.Value)
				}
				return true
			})
		}
	}
	return slices.Sorted(maps.Keys(words))
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	slugGone = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// TestLinksResolve has no way that leads nowhere.
func TestLinksResolve(t *testing.T) {
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(read(t, page), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// pages are what a person reads: the front page, the one for contributors, and all below docs.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"../README.md", "../CONTRIBUTING.md"}
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) < 5 {
		t.Fatal(errors.Join(err, errors.New("pages: "+strings.Join(found, " "))))
	}
	return found
}

// anchors are the fragments by which a page's headings are linked to.
func anchors(page string) []string {
	var slugs []string
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		slug := slugGone.ReplaceAllString(strings.ToLower(m[1]), "")
		slugs = append(slugs, strings.ReplaceAll(slug, " ", "-"))
	}
	return slugs
}

// TestMarkOfTheExample has the tag of the owner mark in guest.md be the one that the page's own rule gives.
func TestMarkOfTheExample(t *testing.T) {
	m := regexp.MustCompile(`(?m)^(phoenix-[0-9a-f]{12})\n<!-- phoenix-hypervisor\.io owner=(\S+) guest=(\S+) vmid=101 `).FindStringSubmatch(read(t, "guest.md"))
	if m == nil {
		t.Fatal("guest.md shows no owner mark")
	}
	sum := sha256.Sum256([]byte(m[2] + "|Guest|" + m[3]))
	if want := "phoenix-" + hex.EncodeToString(sum[:])[:12]; m[1] != want {
		t.Errorf("the tag is %s, the rule gives %s", m[1], want)
	}
}

var example = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// TestExamplesAreOfTheKinds has no misspelt field in an example that is whole.
func TestExamplesAreOfTheKinds(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		for _, m := range example.FindAllStringSubmatch(read(t, page), -1) {
			for text := range strings.SplitSeq(m[1], "\n---\n") {
				var into any
				switch {
				case strings.Contains(text, "\nkind: Guest\n"):
					into = &v1alpha1.Guest{}
				case strings.Contains(text, "\nkind: Host\n"):
					into = &v1alpha1.Host{}
				case strings.Contains(text, "\nkind: Certificate\n"):
					into = &v1alpha1.Certificate{}
				case strings.Contains(text, "\nkind: DockerStack\n"):
					into = &v1alpha1.DockerStack{}
				case strings.Contains(text, "\nkind: Route\n"):
					into = &v1alpha1.Route{}
				case strings.Contains(text, "\nkind: HostService\n"):
					into = &v1alpha1.HostService{}
				default:
					continue
				}
				found++
				if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
					t.Errorf("%s: %v in\n%s", page, err, text)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d examples found", found)
	}
}

// TestEveryFieldIsExplained looks for each field of a kind's spec and status, by the name that YAML gives it.
func TestEveryFieldIsExplained(t *testing.T) {
	for page, types := range map[string][]reflect.Type{
		"certificate.md": {reflect.TypeFor[v1alpha1.CertificateSpec](), reflect.TypeFor[v1alpha1.CertificateStatus]()},
		"dockerstack.md": {reflect.TypeFor[v1alpha1.DockerStackSpec](), reflect.TypeFor[v1alpha1.DockerStackStatus]()},
		"guest.md":       {reflect.TypeFor[v1alpha1.GuestSpec](), reflect.TypeFor[v1alpha1.GuestStatus]()},
		"hostservice.md": {reflect.TypeFor[v1alpha1.HostServiceSpec](), reflect.TypeFor[v1alpha1.HostServiceStatus]()},
		"route.md":       {reflect.TypeFor[v1alpha1.RouteSpec](), reflect.TypeFor[v1alpha1.RouteStatus]()},
	} {
		names := map[string]bool{}
		for _, of := range types {
			fieldsOf(of, names)
		}
		if len(names) < 40 {
			t.Fatalf("%s has only the fields %v", page, names)
		}
		text := read(t, page)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !regexp.MustCompile("`[^`\\n]*\\b" + name + "\\b[^`\\n]*`").MatchString(text) {
				t.Errorf("%s does not explain the field %s", page, name)
			}
		}
	}
}

// fieldsOf collects the names of a type's fields and of those below them, as far as they are ours. What every kind has
// stands on the loop's page.
func fieldsOf(of reflect.Type, names map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		fieldsOf(of.Elem(), names)
	case reflect.Struct:
		if of.PkgPath() != reflect.TypeFor[v1alpha1.Guest]().PkgPath() || of == reflect.TypeFor[v1alpha1.CommonStatus]() {
			return
		}
		for i := range of.NumField() {
			field := of.Field(i)
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				names[name] = true
			}
			fieldsOf(field.Type, names)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
