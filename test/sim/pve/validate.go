// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

var (
	integerRE = regexp.MustCompile(`^[+-]?[0-9]+$`)
	numberRE  = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)
)

const (
	missingProperty = "property is missing and it is not optional"
	unknownProperty = "property is not defined in schema and the schema does not allow additional properties"
)

// fieldErrors maps a parameter's name to what is wrong with it.
type fieldErrors map[string]string

func (e fieldErrors) sorted() []string {
	names := make([]string, 0, len(e))
	for name := range e {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// validate checks parameters against a method's schema and normalises booleans
// to 0 and 1, as Proxmox stores them.
func (m *method) validate(params map[string]string, strict bool) fieldErrors {
	errs := fieldErrors{}
	for name, value := range params {
		p, format := m.prop(name)
		if p == nil {
			if strict {
				errs[name] = unknownProperty
			}
			continue
		}
		clean, problem := p.check(value, m.kind(), format, name)
		if problem != "" {
			errs[name] = problem
			continue
		}
		params[name] = clean
		if _, present := params[p.Requires]; p.Requires != "" && !present {
			errs[p.Requires] = fmt.Sprintf("missing property - '%s' requires this property", name)
		}
	}
	for name, p := range m.Props {
		if _, present := params[name]; !present && p.Optional == 0 && !strings.HasSuffix(name, "[n]") {
			errs[name] = missingProperty
		}
	}
	return errs
}

// check tests one value. path names the value in nested messages.
func (p *property) check(value, kind, format, path string) (clean, problem string) {
	clean, problem = p.checkType(value)
	if problem != "" {
		return value, problem
	}
	if p.Format != "" {
		if problem := checkFormat(p.Format, kind, format, path, value); problem != "" {
			return value, "invalid format - " + problem
		}
	}
	return clean, p.checkBounds(clean)
}

func (p *property) checkType(value string) (clean, problem string) {
	switch p.Type {
	case "boolean":
		switch strings.ToLower(value) {
		case "1", "on", "yes", "true":
			return "1", ""
		case "0", "off", "no", "false":
			return "0", ""
		}
		return value, fmt.Sprintf("type check ('boolean') failed - got '%s'", value)
	case "integer":
		if !integerRE.MatchString(value) {
			return value, fmt.Sprintf("type check ('integer') failed - got '%s'", value)
		}
		return strings.TrimPrefix(value, "+"), ""
	case "number":
		if !numberRE.MatchString(value) {
			return value, fmt.Sprintf("type check ('number') failed - got '%s'", value)
		}
	}
	return value, ""
}

func (p *property) checkBounds(value string) string {
	switch p.Type {
	case "integer", "number":
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Sprintf("type check ('%s') failed - got '%s'", p.Type, value)
		}
		if limit, ok := number(p.Minimum); ok && n < limit {
			return fmt.Sprintf("value must have a minimum value of %s", plain(limit))
		}
		if limit, ok := number(p.Maximum); ok && n > limit {
			return fmt.Sprintf("value must have a maximum value of %s", plain(limit))
		}
	case "boolean":
		return ""
	}
	return p.checkText(value)
}

func (p *property) checkText(value string) string {
	if p.MaxLength > 0 && len(value) > p.MaxLength {
		return fmt.Sprintf("value may only be %d characters long", p.MaxLength)
	}
	if p.MinLength > 0 && len(value) < p.MinLength {
		return fmt.Sprintf("value must be at least %d characters long", p.MinLength)
	}
	if p.re != nil && !p.re.MatchString(value) {
		return "value does not match the regex pattern"
	}
	if len(p.Enum) > 0 {
		for _, allowed := range p.Enum {
			if value == allowed {
				return ""
			}
		}
		return fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'", value, strings.Join(p.Enum, ", "))
	}
	return ""
}

func plain(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case string:
		f, err := strconv.ParseFloat(n, 64)
		return f, err == nil
	}
	return 0, false
}
