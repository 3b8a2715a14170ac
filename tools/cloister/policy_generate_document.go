package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/arm"
	"github.com/cloister-cc/cloister/tools/cloister/workload/confcomjson"
	"github.com/cloister-cc/cloister/tools/cloister/workload/vn2"
)

// maxDocument bounds a document, in bytes.
const maxDocument = 16 << 20

// document is what a policy is generated of.
type document struct {
	name   string // of the file; "" is none that a policy could be written into
	text   []byte
	groups []workload.Group
	only   int      // the group that is wanted; -1 is all
	with   [][]byte // containers made elsewhere

	// insert puts a policy (base64) into a text of the document; nil where it has no place for one.
	insert func(cmd *cobra.Command, text []byte, group int, policy string) ([]byte, error)
}

func (d *document) chosen(group int) bool { return d.only < 0 || d.only == group }

// read reads the one document that the flags name.
func (g *groupGenerate) read(cmd *cobra.Command) (*document, error) {
	doc := &document{only: -1}
	var err error
	switch {
	case g.template != "":
		err = g.readTemplate(cmd, doc)
	case g.virtualNode != "":
		err = g.readVirtualNode(cmd, doc)
	case g.config != "":
		var text []byte
		if text, err = readInput(g.config, cmd.InOrStdin(), maxDocument); err == nil {
			err = refuseTemplate(cmd, "-i", g.config, text)
		}
		if err == nil {
			doc.groups, err = confcomjson.Read(cmd.Context(), workload.Document{Name: g.config, Data: text})
		}
	case g.image != "":
		o := workload.Origin{File: "command line", Path: "--image"}
		doc.groups = []workload.Group{{Platform: workload.ACI, Origin: o, Containers: []workload.Container{
			{ID: g.image, Image: workload.Text{Value: g.image, Origin: o}, Origin: o},
		}}}
	default:
		doc.groups = []workload.Group{{Platform: workload.ACI}}
		doc.with, err = g.readWith(cmd)
	}
	if err != nil {
		return nil, err
	}
	return doc, doc.choose(g.group)
}

func (g *groupGenerate) readTemplate(cmd *cobra.Command, doc *document) error {
	if err := oneStdin(cmd, append([]string{g.template}, g.parameters...)...); err != nil {
		return err
	}
	text, err := readInput(g.template, cmd.InOrStdin(), maxDocument)
	if err != nil {
		return err
	}
	if isYAML(text) {
		return usage(cmd, "-a %s is YAML, want a deployment template in JSON: use -f or --virtual-node-yaml", printable(g.template))
	}
	in := arm.Input{Template: workload.Document{Name: g.template, Data: text}, ExactWildcards: g.exactWildcards}
	for _, name := range g.parameters {
		p, err := readInput(name, cmd.InOrStdin(), maxDocument)
		if err != nil {
			return err
		}
		in.Parameters = append(in.Parameters, workload.Document{Name: name, Data: p})
	}
	doc.name, doc.text = g.template, text
	doc.insert = func(cmd *cobra.Command, text []byte, group int, policy string) ([]byte, error) {
		in.Template.Data = text
		return arm.Insert(cmd.Context(), in, group, policy)
	}
	if doc.groups, err = arm.Read(cmd.Context(), in); err != nil {
		return err
	}
	return noteSkipped(cmd, in)
}

// noteSkipped says which groups of a template get no policy; one that stands there is worth a warning.
func noteSkipped(cmd *cobra.Command, in arm.Input) error {
	skipped, err := arm.Skipped(cmd.Context(), in)
	u := newUI(cmd.ErrOrStderr())
	for _, s := range skipped {
		if s.Policy {
			u.warn("%s: group %s is left out: %s; the policy that stands there stays as it is", printable(s.Origin.String()), printable(s.Name), s.Why)
		} else {
			u.note("%s: group %s is left out: %s", printable(s.Origin.String()), printable(s.Name), s.Why)
		}
	}
	return err
}

func (g *groupGenerate) readVirtualNode(cmd *cobra.Command, doc *document) error {
	text, err := readInput(g.virtualNode, cmd.InOrStdin(), maxDocument)
	if err != nil {
		return err
	}
	doc.name, doc.text = g.virtualNode, text
	doc.insert = func(cmd *cobra.Command, text []byte, group int, policy string) ([]byte, error) {
		return vn2.Insert(cmd.Context(), workload.Document{Name: g.virtualNode, Data: text}, group, policy)
	}
	doc.groups, err = vn2.Read(cmd.Context(), workload.Document{Name: g.virtualNode, Data: text})
	return err
}

// readWith reads containers that are JSON on the command line or in a file, one or a list.
func (g *groupGenerate) readWith(cmd *cobra.Command) ([][]byte, error) {
	var out [][]byte
	for _, w := range g.with {
		text := []byte(strings.TrimSpace(w))
		if !bytes.HasPrefix(text, []byte("{")) && !bytes.HasPrefix(text, []byte("[")) {
			var err error
			if text, err = readInput(w, cmd.InOrStdin(), maxDocument); err != nil {
				return nil, err
			}
			text = bytes.TrimSpace(text)
		}
		if !bytes.HasPrefix(text, []byte("[")) {
			out = append(out, text)
			continue
		}
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("--with-containers: %w", err)
		}
		for _, c := range list {
			out = append(out, c)
		}
	}
	return out, nil
}

// choose finds the group of --group.
func (d *document) choose(name string) error {
	if name == "" {
		return nil
	}
	var names []string
	for _, g := range d.groups {
		names = append(names, fmt.Sprintf("%q", g.Name))
	}
	matches := func(g workload.Group) bool { return g.Name == name }
	if d.only = slices.IndexFunc(d.groups, matches); d.only >= 0 {
		if slices.ContainsFunc(d.groups[d.only+1:], matches) {
			return fmt.Errorf("--group %q: several groups have this name; give its number, 0 to %d", name, len(d.groups)-1)
		}
		return nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(d.groups) {
		d.only = n
		return nil
	}
	return fmt.Errorf("--group %.80q: the document has %s, or 0 to %d", name, strings.Join(names, ", "), len(d.groups)-1)
}
