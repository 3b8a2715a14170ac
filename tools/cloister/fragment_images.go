package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/confcomjson"
	"github.com/cloister-cc/cloister/verity/layer"
)

// fragmentImages are the flags of fragments that are made of images.
type fragmentImages struct {
	images, inputs []string

	lock                                 string
	archives, layouts                    []string
	locked, update                       bool
	compat, format                       string
	omitID, noStdio, debug, anyWildcards bool
}

// maxInput bounds a configuration, in bytes.
const maxInput = 16 << 20

func (i *fragmentImages) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&i.images, "image", nil, "image whose configuration becomes a container; may be given again")
	f.StringArrayVarP(&i.inputs, "input", "i", nil, "JSON configuration of Azure's policy tool, with containers; may be given again")
	f.StringVar(&i.lock, "lock", "", "lock file: what images were found to be; it is written when images were looked up")
	f.BoolVar(&i.locked, "locked", false, "look nothing up: what the lock file lacks is an error")
	f.BoolVar(&i.update, "update-lock", false, "take a changed image for its reference and replace the lock's entry")
	f.StringArrayVar(&i.archives, "tar", nil, "archive of images (docker save, OCI); may be given again")
	f.StringArrayVar(&i.layouts, "layout", nil, "OCI layout with images; may be given again")
	f.StringVar(&i.compat, "compat", "", "how images become containers: "+strings.Join(defaults.Levels(), ", ")+" (default "+acigen.Latest+")")
	f.StringVar(&i.format, "layer-format", acigen.Ext4, "whose roots are written: "+acigen.Ext4+", "+acigen.EROFS+" or "+acigen.Both)
	f.BoolVar(&i.omitID, "omit-id", false, "leave the field id out of containers")
	f.BoolVar(&i.noStdio, "disable-stdio", false, "keep the containers' output inside the VM")
	f.BoolVar(&i.debug, "debug-mode", false, "allow shells in the containers")
	f.BoolVarP(&i.anyWildcards, "approve-wildcards", "y", false, "accept rules that stand for values which are not known yet")
}

// fromImages mean nothing without an image.
var fromImages = []string{"lock", "locked", "update-lock", "tar", "layout", "compat", "layer-format", "omit-id", "disable-stdio", "debug-mode", "approve-wildcards"}

func (i *fragmentImages) asked() bool { return len(i.images)+len(i.inputs) > 0 }

func (i *fragmentImages) usage(cmd *cobra.Command) error {
	if !i.asked() {
		for _, name := range fromImages {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s needs --image or --input", name)
			}
		}
		return nil
	}
	switch {
	case i.compat != "" && !slices.Contains(append(defaults.Levels(), acigen.Latest), i.compat):
		return fmt.Errorf("--compat is %.40q, want one of %s", i.compat, strings.Join(defaults.Levels(), ", "))
	case !slices.Contains([]string{acigen.Ext4, acigen.EROFS, acigen.Both}, i.format):
		return fmt.Errorf("--layer-format is %.40q, want %s, %s or %s", i.format, acigen.Ext4, acigen.EROFS, acigen.Both)
	case i.locked && (i.lock == "" || i.update):
		return errors.New("--locked needs --lock FILE, and goes without --update-lock")
	}
	return nil
}

// group is what the flags describe, as one group of containers.
func (i *fragmentImages) group(cmd *cobra.Command) (*workload.Group, error) {
	g := &workload.Group{Platform: workload.ACI}
	for n, ref := range i.images {
		origin := workload.Origin{File: "command line", Path: fmt.Sprintf("--image[%d]", n)}
		g.Containers = append(g.Containers, workload.Container{ID: ref, Name: ref, Image: workload.Text{Value: ref, Origin: origin}, Origin: origin})
	}
	for _, name := range i.inputs {
		data, err := readInput(name, cmd.InOrStdin(), maxInput)
		if err != nil {
			return nil, err
		}
		groups, err := confcomjson.Read(cmd.Context(), workload.Document{Name: name, Data: data})
		if err != nil {
			return nil, err
		}
		for _, other := range groups {
			if other.Platform != g.Platform && len(g.Containers) > 0 {
				return nil, fmt.Errorf("%s: its containers are for %q, others for %q", name, other.Platform, g.Platform)
			}
			g.Platform = other.Platform
			g.Containers, g.Fragments = append(g.Containers, other.Containers...), append(g.Fragments, other.Fragments...)
		}
	}
	return g, nil
}

// source opens the places where images may be.
func (i *fragmentImages) source(ctx context.Context) (*images.Resolver, error) {
	formats := []layer.Format{layer.Format(i.format)}
	if i.format == acigen.Both {
		formats = []layer.Format{acigen.Ext4, acigen.EROFS}
	}
	return images.Open(ctx, images.Options{
		Lock: i.lock, Locked: i.locked, Update: i.update, Layouts: i.layouts, ArchiveFiles: i.archives, Registry: !i.locked, Formats: formats,
	})
}

// text writes the fragment of the images and of containers made elsewhere.
func (i *fragmentImages) text(cmd *cobra.Command, t fragmentgen.Text, pretty bool) (text []byte, err error) {
	g, err := i.group(cmd)
	if err != nil {
		return nil, err
	}
	source, err := i.source(cmd.Context())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	o := acigen.FragmentOptions{Namespace: t.Namespace, SVN: t.SVN, Options: acigen.Options{Compat: i.compat, Debug: i.debug, OmitID: i.omitID, Format: i.format}}
	if i.noStdio {
		o.Stdio = new(bool)
	}
	for _, c := range t.Containers {
		o.With = append(o.With, c)
	}
	for _, e := range t.Fragments {
		o.Fragments = append(o.Fragments, workload.Fragment{Feed: e.Feed, Includes: e.Includes, Issuer: e.Issuer, MinimumSVN: e.MinimumSVN})
	}
	p, err := acigen.Fragment(cmd.Context(), g, source, o)
	if err != nil {
		return nil, err
	}
	if err := i.approve(p.Wildcards()); err != nil {
		return nil, err
	}
	if i.lock != "" && !i.locked {
		if err := source.WriteLock(i.lock); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return p.Rego(pretty), nil
}

// approve wants a yes to rules that accept whatever the host sets.
func (i *fragmentImages) approve(wildcards []acigen.Rule) error {
	if i.anyWildcards || len(wildcards) == 0 {
		return nil
	}
	var list []string
	for _, w := range wildcards {
		list = append(list, fmt.Sprintf("%s of %q: %s (%s)", w.Field, w.Container, w.Value, w.Place))
	}
	return fmt.Errorf("%d rules accept any value: %s (accept them with --approve-wildcards)", len(wildcards), strings.Join(list, "; "))
}
