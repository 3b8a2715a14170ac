package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen/artifact"
)

// placeFlags say how a registry is spoken to.
type placeFlags struct {
	plainHTTP bool
	timeout   time.Duration
}

func (p *placeFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.plainHTTP, "plain-http", false, "speak to the registry without TLS, which the loopback is always spoken to")
	cmd.Flags().DurationVar(&p.timeout, "timeout", 2*time.Minute, "time after which the command gives up")
}

// placeHelp is what references may be.
const placeHelp = `A reference is a registry's (credentials come from Docker's configuration and its helpers), or oci:DIR[:TAG] for an OCI layout.`

func (p *placeFlags) open(cmd *cobra.Command, reference string) (*artifact.Place, context.Context, context.CancelFunc, error) {
	if p.timeout <= 0 {
		return nil, nil, nil, &usageError{fmt.Errorf("%s: --timeout is %s, want more than 0", commandName(cmd), p.timeout)}
	}
	place, err := artifact.Open(reference, artifact.Options{PlainHTTP: p.plainHTTP})
	if err != nil {
		return nil, nil, nil, &usageError{fmt.Errorf("%s: %w", commandName(cmd), err)}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), p.timeout)
	return place, ctx, cancel, nil
}

// publish is what push and attach have in common.
type publish struct {
	placeFlags
	title, platform string
	attach, json    bool
}

func newFragmentPushCommand() *cobra.Command {
	var p publish
	cmd := &cobra.Command{
		Use:   "push FRAGMENT REFERENCE",
		Short: "Put a signed fragment into a registry or an OCI layout",
		Long: `Push puts a signed fragment ("-" is standard input) under a tag of its own, as an artifact of type
` + artifact.ArtifactType + ` with one layer of type ` + fragment.MediaTypeRego + `. Only a fragment whose signature holds is pushed. The same
fragment gets the same digest each time. ` + placeHelp,
		Example: `  cloister fragment push side.rego.cose registry.example/side:1
  cloister fragment push side.rego.cose oci:./layout:side-1`,
		Args: exactly("FRAGMENT", "REFERENCE"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args[0], args[1]) },
	}
	p.addPublish(cmd)
	return cmd
}

func newFragmentAttachCommand() *cobra.Command {
	p := publish{attach: true}
	cmd := &cobra.Command{
		Use:   "attach FRAGMENT IMAGE",
		Short: "Attach a signed fragment to an image",
		Long: `Attach puts a signed fragment ("-" is standard input) beside an image, as an artifact of type ` + artifact.ArtifactType + ` that
refers to it: by the referrers API, or by the tag schema where a registry has none. The image stays as it is. Of an image for several
platforms the fragment refers to the index, unless --platform chooses one. ` + placeHelp,
		Example: `  cloister fragment attach side.rego.cose registry.example/side-image:1.27
  cloister fragment attach --platform linux/amd64 side.rego.cose oci:./layout:1.27`,
		Args: exactly("FRAGMENT", "IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args[0], args[1]) },
	}
	p.addPublish(cmd)
	cmd.Flags().StringVar(&p.platform, "platform", "", "attach to the index's image for this platform, e.g. linux/amd64")
	return cmd
}

func (p *publish) addPublish(cmd *cobra.Command) {
	p.add(cmd)
	cmd.Flags().StringVar(&p.title, "title", "", "file name that other tools give the document (default: that of FRAGMENT)")
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
}

func (p *publish) run(cmd *cobra.Command, name, reference string) error {
	place, ctx, cancel, err := p.open(cmd, reference)
	if err != nil {
		return err
	}
	defer cancel()
	raw, err := readSigned(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	f, err := fragment.Open(raw)
	if err != nil {
		return fmt.Errorf("%s %q: %w", commandName(cmd), name, err)
	}
	if p.title == "" {
		p.title = "fragment.rego.cose"
		if name != "-" {
			p.title = filepath.Base(name)
		}
	}
	var done *artifact.Pushed
	if p.attach {
		done, err = place.Attach(ctx, raw, p.title, p.platform)
	} else {
		done, err = place.Push(ctx, raw, p.title)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", commandName(cmd), err)
	}
	if repo := place.Repository(); !p.attach && repo != "" && repo != f.Feed {
		newUI(cmd.ErrOrStderr()).note("the feed is %q: tools that look for it there will not find %s", f.Feed, done.Reference)
	}
	if p.json {
		return encodeJSON(cmd.OutOrStdout(), done)
	}
	rows := [][]string{{"artifact", done.Reference}, {"document", done.Layer}}
	if done.Subject != "" {
		rows = append(rows, []string{"attached to", done.Subject})
	}
	out := &printer{w: cmd.OutOrStdout()}
	out.rows("", rows)
	return out.err
}
