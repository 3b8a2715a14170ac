package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/tools/cloister/acigen"
	"github.com/cloister-cc/cloister/tools/cloister/acigen/defaults"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/confcomjson"
)

// fragmentImages are the flags of fragments that are made of images.
type fragmentImages struct {
	imageSources
	references, inputs []string

	compat, format                                 string
	saveLock, omitID, noStdio, debug, anyWildcards bool
}

func (i *fragmentImages) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&i.references, "image", nil, "image whose configuration becomes a container; may be given again")
	f.StringArrayVarP(&i.inputs, "input", "i", nil, "JSON configuration of az confcom, with containers; may be given again")
	f.StringVar(&i.compat, "compat", acigen.Latest, "age of the fragment: "+strings.Join(defaults.Levels(), ", "))
	f.StringVar(&i.format, "layer-format", acigen.Ext4, "whose layer roots are written: "+acigen.Ext4+", "+acigen.EROFS+" or "+acigen.Both)
	f.BoolVar(&i.omitID, "omit-id", false, "leave the images' references out of the fragment")
	f.BoolVar(&i.noStdio, "disable-stdio", false, "keep the containers' output inside the VM")
	f.BoolVar(&i.debug, "debug-mode", false, "allow shells in the containers")
	f.BoolVarP(&i.anyWildcards, "approve-wildcards", "y", false, "accept patterns for values that are not known yet, without asking")
	f.StringVar(&i.images, "images", "", "directory of OCI layouts")
	f.StringVar(&i.cache, "cache", "", "directory of what is known of layers (default in the user's cache directory)")
	f.BoolVar(&i.saveLock, "save-lock", false, "write what was found of the images into the lock file (default "+defaultLock+")")
	i.imageSources.bind(f)
}

// Flags by subject: those of containers that are generated, and those of the places where images are looked for.
var (
	fragmentContainerFlags = []string{"compat", "layer-format", "omit-id", "disable-stdio", "debug-mode", "approve-wildcards"}
	fragmentPlaceFlags     = []string{
		"lock", "locked", "save-lock", "update-lock", "images", "tar", "containerd", "containerd-namespace", "offline", "mirror", "plain-http",
		"require-signature", "signature-bundle", "cache",
	}
)

func (i *fragmentImages) asked() bool { return len(i.references)+len(i.inputs) > 0 }

func (i *fragmentImages) check(cmd *cobra.Command) error {
	if !i.asked() {
		if given := givenFlags(cmd, append(fragmentContainerFlags, fragmentPlaceFlags...)...); len(given) > 0 {
			return usage(cmd, "%s does nothing without --image or --input", given[0])
		}
		return nil
	}
	if _, err := defaults.LoadLevel(i.compat); err != nil {
		return usage(cmd, "--compat: %v", err)
	}
	switch i.format {
	case acigen.Ext4, acigen.EROFS, acigen.Both:
	default:
		return usage(cmd, "--layer-format is %.40q, want %s, %s or %s", i.format, acigen.Ext4, acigen.EROFS, acigen.Both)
	}
	return i.imageSources.check(cmd, i.saveLock)
}

// group is what the flags describe, as one group of containers.
func (i *fragmentImages) group(cmd *cobra.Command) (*workload.Group, error) {
	g := &workload.Group{Platform: workload.ACI}
	for n, ref := range i.references {
		origin := workload.Origin{File: "command line", Path: fmt.Sprintf("--image[%d]", n)}
		g.Containers = append(g.Containers, workload.Container{ID: ref, Name: ref, Image: workload.Text{Value: ref, Origin: origin}, Origin: origin})
	}
	for _, name := range i.inputs {
		data, err := readInput(name, cmd.InOrStdin(), maxDocument)
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
			g.Platform, g.Labels = other.Platform, other.Labels
			g.Containers, g.Fragments = append(g.Containers, other.Containers...), append(g.Fragments, other.Fragments...)
		}
	}
	return g, nil
}

// text writes the fragment of the images and of containers made elsewhere.
func (i *fragmentImages) text(cmd *cobra.Command, t fragmentgen.Text, pretty bool) (text []byte, err error) {
	g, err := i.group(cmd)
	if err != nil {
		return nil, err
	}
	source, err := i.open(cmd, i.format)
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
	if err := i.approve(cmd, p.Wildcards()); err != nil {
		return nil, err
	}
	if i.saveLock {
		if err := source.WriteLock(i.lockPath()); err != nil {
			return nil, err
		}
	}
	return p.Rego(pretty), nil
}

// approve asks for patterns that accept whatever the host sets. Where nobody can be asked, they are an error.
func (i *fragmentImages) approve(cmd *cobra.Command, wildcards []acigen.Rule) error {
	if i.anyWildcards || len(wildcards) == 0 {
		return nil
	}
	var list []string
	for _, w := range wildcards {
		list = append(list, fmt.Sprintf("container %s: %s (%s)", printable(w.Container), printable(w.Value), printable(w.Place)))
	}
	about := fmt.Sprintf("%d values are left open, which the host may then choose:\n  %s", len(list), strings.Join(list, "\n  "))
	ok, err := askUser(cmd, about+"\nAccept them?")
	switch {
	case errors.Is(err, errNobody):
		return fmt.Errorf("%s\n(accept the patterns with -y)", about)
	case err == nil && !ok:
		return errors.New("the patterns were not accepted; nothing was written")
	}
	return err
}
