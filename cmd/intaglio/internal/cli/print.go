package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Format is what a result is printed as. It is a pflag.Value.
type Format string

// The formats. Table is for people and may change; the others are for machines and do not.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
	Name  Format = "name"
)

var formats = []Format{Table, JSON, YAML, Name}

// Formats returns the names of all formats.
func Formats() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = string(f)
	}
	return names
}

// String returns the format's name.
func (f *Format) String() string { return string(*f) }

// Set is for the flag parser.
func (f *Format) Set(s string) error {
	if !slices.Contains(formats, Format(s)) {
		return fmt.Errorf("want one of %s", strings.Join(Formats(), ", "))
	}
	*f = Format(s)
	return nil
}

// Type is for help texts.
func (*Format) Type() string { return "format" }

// A Printer prints results in one format.
type Printer struct {
	W      io.Writer
	Format Format
}

// Message prints an API message: for machines as protobuf's JSON (over several lines, the same bytes every time) or
// YAML of the same shape; as names one per line; and for people by table.
func (p Printer) Message(m proto.Message, names []string, table func(w io.Writer)) error {
	if p.Format == JSON || p.Format == YAML {
		raw, err := protojson.Marshal(m)
		if err != nil {
			return err
		}
		return p.encoded(raw)
	}
	return p.plain(names, table)
}

// Value is Message for what is not of the API; v is encoded by encoding/json.
func (p Printer) Value(v any, names []string, table func(w io.Writer)) error {
	if p.Format == JSON || p.Format == YAML {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return p.encoded(raw)
	}
	return p.plain(names, table)
}

func (p Printer) plain(names []string, table func(w io.Writer)) error {
	if p.Format == Name {
		for _, n := range names {
			fmt.Fprintln(p.W, Clean(n))
		}
		return nil
	}
	table(p.W)
	return nil
}

func (p Printer) encoded(raw []byte) error {
	if p.Format == YAML {
		text, err := toYAML(raw)
		if err != nil {
			return err
		}
		_, err = p.W.Write(text)
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil { // protojson's own spacing changes from build to build; this does not
		return err
	}
	b.WriteByte('\n')
	_, err := p.W.Write(b.Bytes())
	return err
}

// toYAML writes JSON, which is YAML already, in block style and in the same order.
func toYAML(raw []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	unstyle(&doc)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

func unstyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		unstyle(c)
	}
}

// Columns prints rows under their headings, aligned. Cells are cleaned.
func Columns(w io.Writer, heading []string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(heading, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			if cells[i] = Clean(c); c == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	tw.Flush()
}

// Facts prints names and values, one pair a line, aligned; pairs with an empty value are left out.
func Facts(w io.Writer, pairs ...string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(tw, "%s\t%s\n", pairs[i], Clean(pairs[i+1]))
		}
	}
	tw.Flush()
}
