// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package traefik

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vulcand/predicate"
)

// The operators of rules.
const (
	opAnd = "and"
	opOr  = "or"
)

// rule is what a rule says, before its matchers are looked at.
type rule struct {
	matcher     string
	not         bool
	values      []string
	left, right *rule
}

// ruleBuilder makes a rule: the parser wants functions.
type ruleBuilder func() *rule

// newParser parses rules of some matchers, in their own, in lower, in upper and in title case.
func newParser(names []string) (predicate.Parser, error) {
	functions := map[string]any{}
	for _, name := range names {
		build := func(values ...string) ruleBuilder {
			return func() *rule { return &rule{matcher: name, values: values} }
		}
		lower := strings.ToLower(name)
		for _, spelt := range []string{name, lower, strings.ToUpper(name), strings.ToUpper(lower[:1]) + lower[1:]} {
			functions[spelt] = build
		}
	}
	join := func(operator string) func(left, right ruleBuilder) ruleBuilder {
		return func(left, right ruleBuilder) ruleBuilder {
			return func() *rule { return &rule{matcher: operator, left: left(), right: right()} }
		}
	}
	return predicate.NewParser(predicate.Def{
		Operators: predicate.Operators{
			AND: join(opAnd), OR: join(opOr),
			NOT: func(of ruleBuilder) ruleBuilder { return func() *rule { return of().invert() } },
		},
		Functions: functions,
	})
}

// parseRule parses a rule of some matchers.
func parseRule[M any](text string, matchers map[string]M) (*rule, error) {
	parser, err := newParser(keys(matchers))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(text)
	if err != nil {
		return nil, err
	}
	build, ok := parsed.(ruleBuilder)
	if !ok {
		return nil, errors.New("obtaining build tree")
	}
	return build(), nil
}

// invert says the opposite.
func (r *rule) invert() *rule {
	switch r.matcher {
	case opOr:
		r.matcher, r.left, r.right = opAnd, r.left.invert(), r.right.invert()
	case opAnd:
		r.matcher, r.left, r.right = opOr, r.left.invert(), r.right.invert()
	default:
		r.not = !r.not
	}
	return r
}

// check refuses a matcher without arguments.
func (r *rule) check() error {
	if len(r.values) == 0 {
		return fmt.Errorf("no args for matcher %s", r.matcher)
	}
	for _, v := range r.values {
		if v == "" {
			return fmt.Errorf("empty args for matcher %s, %v", r.matcher, r.values)
		}
	}
	return nil
}

// of are the values of a matcher wherever it stands, in lower case.
func (r *rule) of(matcher string) []string {
	switch r.matcher {
	case opAnd, opOr:
		return append(r.left.of(matcher), r.right.of(matcher)...)
	case matcher:
		var out []string
		for _, v := range r.values {
			out = append(out, strings.ToLower(v))
		}
		return out
	}
	return nil
}

// test tells whether something fits.
type test[T any] func(T) bool

// compile turns a rule into a test. wrap tells where an error stands.
func compile[T any](r *rule, matchers map[string]func(...string) (test[T], error), wrap func(matcher, what string, err error) error) (test[T], error) {
	if r.matcher == opAnd || r.matcher == opOr {
		left, err := compile(r.left, matchers, wrap)
		if err != nil {
			return nil, wrap(r.matcher, "adding", err)
		}
		right, err := compile(r.right, matchers, wrap)
		if err != nil {
			return nil, err
		}
		if r.matcher == opAnd {
			return func(v T) bool { return left(v) && right(v) }, nil
		}
		return func(v T) bool { return left(v) || right(v) }, nil
	}
	if err := r.check(); err != nil {
		return nil, wrap(r.matcher, "checking", err)
	}
	fits, err := matchers[r.matcher](r.values...)
	if err != nil {
		return nil, wrap(r.matcher, "adding", err)
	}
	if r.not {
		return func(v T) bool { return !fits(v) }, nil
	}
	return fits, nil
}
