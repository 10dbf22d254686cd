// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/docker/go-units"
)

// row is a line of a list: the fields by which --format knows it.
type row map[string]string

// column is a field with its heading.
type column struct{ field, heading string }

// table prints a list as --quiet and --format say.
func (c *dockerCall) table(rows []row, columns []column) int {
	format := strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(c.last("format", ""))
	switch {
	case c.has("q") && format == "":
		for _, one := range rows {
			c.Printf("%s\n", one["ID"])
		}
		return 0
	case format == "" || format == "table":
		var above, fields []string
		for _, one := range columns {
			above, fields = append(above, one.heading), append(fields, "{{."+one.field+"}}")
		}
		return c.columns(strings.Join(above, "\t"), strings.Join(fields, "\t"), rows)
	case strings.HasPrefix(format, "table "):
		format = strings.TrimPrefix(format, "table ")
		head, err := fill(format, headings(rows, columns))
		if err != nil {
			return c.badTemplate(err)
		}
		return c.columns(head, format, rows)
	}
	for _, one := range rows {
		text, err := fill(format, one)
		if err != nil {
			return c.badTemplate(err)
		}
		c.Printf("%s\n", text)
	}
	return 0
}

// headings are what stands above the fields of a table.
func headings(rows []row, columns []column) row {
	out := row{}
	for _, one := range rows {
		for field := range one {
			out[field] = strings.ToUpper(field)
		}
	}
	for _, one := range columns {
		out[one.field] = one.heading
	}
	return out
}

func (c *dockerCall) columns(head, format string, rows []row) int {
	w := tabwriter.NewWriter(c.Stdout, 10, 1, 3, ' ', 0)
	fmt.Fprintln(w, head)
	for _, one := range rows {
		text, err := fill(format, one)
		if err != nil {
			return c.badTemplate(err)
		}
		fmt.Fprintln(w, text)
	}
	_ = w.Flush() // a reader that left misses it
	return 0
}

func (c *dockerCall) badTemplate(err error) int {
	fmt.Fprintln(c.Stderr, err)
	return 1
}

// fill fills a template in.
func fill(format string, with any) (string, error) {
	t, err := template.New("").Funcs(dockerFunctions).Option("missingkey=error").Parse(format)
	if err != nil {
		return "", fmt.Errorf("template parsing error: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, with); err != nil {
		return "", fmt.Errorf("template parsing error: %w", err)
	}
	return b.String(), nil
}

// dockerFunctions are those of docker's templates.
var dockerFunctions = template.FuncMap{
	"json": func(v any) (string, error) {
		var b strings.Builder
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		err := encoder.Encode(v)
		return strings.TrimSpace(b.String()), err
	},
	"join": strings.Join, "split": strings.Split, "lower": strings.ToLower, "upper": strings.ToUpper,
	"println": func(v ...any) string { return fmt.Sprintln(v...) },
}

// since is how long ago something was, in docker's words.
func (c *dockerCall) since(at time.Time) string { return units.HumanDuration(c.M.now().Sub(at)) }

func size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// render fills a template in with a JSON value, of which it keeps numbers as they
// are written.
func render(format string, value []byte) (string, error) {
	decoder := json.NewDecoder(strings.NewReader(string(value)))
	decoder.UseNumber()
	var with any
	if err := decoder.Decode(&with); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return fill(format, with)
}
