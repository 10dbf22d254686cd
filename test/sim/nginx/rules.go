// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// rule is a directive of the rewrite module: one of if, set and return.
type rule struct {
	when    *condition
	within  []rule
	set     string
	value   string
	returns *reply
}

// reply is a return directive.
type reply struct {
	code int
	text string
}

// condition is that of an if.
type condition struct {
	left, operator, right string
	expression            *regexp.Regexp
}

// rules reads those of a level, in their order.
func (s *section) rules(tree crossplane.Directives) ([]rule, error) {
	var list []rule
	for _, d := range tree {
		var one rule
		var err error
		switch d.Directive {
		case "if":
			if one.when, err = s.condition(d); err == nil {
				one.within, err = s.rules(d.Block)
			}
		case "set":
			one.set, one.value = strings.TrimPrefix(d.Args[0], "$"), d.Args[1]
			if one.set == d.Args[0] {
				err = at(d, "invalid variable name %q", d.Args[0])
			}
			s.named[one.set] = true
			s.mention(one.value)
		case "return":
			one.returns, err = parseReturn(d)
			if err == nil {
				s.mention(one.returns.text)
			}
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// condition reads that of an if.
func (s *section) condition(d *crossplane.Directive) (*condition, error) {
	words := d.Args
	if len(words) != 1 && len(words) != 3 || !strings.HasPrefix(words[0], "$") {
		return nil, at(d, "invalid condition %q", strings.Join(words, " "))
	}
	c := &condition{left: words[0]}
	s.mention(words[0])
	if len(words) == 1 {
		return c, nil
	}
	c.operator, c.right = words[1], words[2]
	switch c.operator {
	case "=", "!=":
		s.mention(c.right)
		return c, nil
	case "~", "~*", "!~", "!~*":
		var err error
		c.expression, err = s.expression(d, c.right, strings.HasSuffix(c.operator, "*"))
		return c, err
	}
	return nil, at(d, "unexpected %q in condition", c.operator)
}

func (c *condition) holds(v *vars) bool {
	left := v.expand(c.left)
	switch {
	case c.expression != nil:
		groups := c.expression.FindStringSubmatch(left)
		if groups != nil {
			v.capture(c.expression, groups)
		}
		return (groups != nil) != strings.HasPrefix(c.operator, "!")
	case c.operator == "":
		return left != "" && left != "0"
	}
	return (left == v.expand(c.right)) == (c.operator == "=")
}

// run carries rules out up to the first that answers.
func run(rules []rule, v *vars) *reply {
	for _, r := range rules {
		switch {
		case r.returns != nil:
			return r.returns
		case r.set != "":
			v.found[r.set] = v.expand(r.value)
		case r.when != nil && r.when.holds(v):
			if answer := run(r.within, v); answer != nil {
				return answer
			}
		}
	}
	return nil
}

func parseReturn(d *crossplane.Directive) (*reply, error) {
	code, err := strconv.Atoi(d.Args[0])
	switch {
	case err == nil && (code < 0 || code > 999), err != nil && len(d.Args) > 1,
		err != nil && !slices.ContainsFunc([]string{"http://", "https://", "$scheme"}, func(start string) bool { return strings.HasPrefix(d.Args[0], start) }):
		return nil, at(d, "invalid return code %q", d.Args[0])
	case err != nil:
		return &reply{302, d.Args[0]}, nil
	case len(d.Args) > 1:
		return &reply{code, d.Args[1]}, nil
	}
	return &reply{code: code}, nil
}
