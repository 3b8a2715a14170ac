package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen/artifact"
)

type fragmentPull struct {
	placeFlags
	platform, out, dir            string
	issuer, feed, minimum, digest string
	policy                        string
	json                          bool
}

// pulled is one fragment that was found.
type pulled struct {
	artifact.Found
	SHA256    string `json:"sha256,omitempty"`
	Issuer    string `json:"issuer,omitempty"`
	Feed      string `json:"feed,omitempty"`
	SVN       string `json:"svn,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Refused is why no guest, or not the policy, takes it.
	Refused string `json:"refused,omitempty"`
	Output  string `json:"output,omitempty"`

	raw []byte
}

func newFragmentPullCommand() *cobra.Command {
	var p fragmentPull
	cmd := &cobra.Command{
		Use:   "pull [-o FILE | --dir DIR] REFERENCE",
		Short: "List or fetch the fragments at a reference, or attached to an image",
		Long: `Pull lists the fragment at a reference, or all that are attached to the image there, with what each says of itself. With -o it writes the one
that is left after --issuer, --feed, --minimum-svn, --digest and --policy ("-" is standard output); of several versions of one issuer and feed
the newest. With --dir it writes all of these, named by their SHA-256. Only what a guest could load is written. Anybody who may push to a
repository may attach fragments: a signature that holds says who signed, and --issuer or --policy who may. ` + placeHelp + `

Exit codes: 0 listed or written, 1 nothing was left or something failed, 2 usage.`,
		Example: `  cloister fragment pull registry.example/side-image:1.27
  cloister fragment pull --policy policy.rego -o side.cose registry.example/side-image:1.27
  cloister fragment pull --feed registry.example/side --minimum-svn 2 --dir fragments oci:./layout:1.27`,
		Args: exactly("REFERENCE"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args[0]) },
	}
	p.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&p.out, "output", "o", "", "file to write one fragment to")
	f.StringVar(&p.dir, "dir", "", "directory to write fragments to")
	f.StringVar(&p.platform, "platform", "linux/amd64", "of an index, also look at its image for this platform")
	f.StringVar(&p.issuer, "issuer", "", "only those of this did:x509")
	f.StringVar(&p.feed, "feed", "", "only those of this feed")
	f.StringVar(&p.minimum, "minimum-svn", "", "only those with this SVN or a newer one")
	f.StringVar(&p.digest, "digest", "", "only the artifact with this digest")
	f.StringVar(&p.policy, "policy", "", "policy to ask: what it refuses is listed with its reasons and not written")
	f.BoolVar(&p.json, "json", false, "print JSON")
	return cmd
}

func (p *fragmentPull) run(cmd *cobra.Command, reference string) error {
	if p.out != "" && p.dir != "" {
		return &usageError{errors.New("fragment pull: -o and --dir contradict each other")}
	}
	if p.minimum != "" {
		if err := fragmentgen.CheckSVN(p.minimum); err != nil {
			return &usageError{fmt.Errorf("--minimum-%w", err)}
		}
	}
	place, ctx, cancel, err := p.open(cmd, reference)
	if err != nil {
		return err
	}
	defer cancel()
	var policy *fragmentgen.Policy
	if p.policy != "" {
		text, err := readPolicy(cmd, p.policy)
		if err != nil {
			return err
		}
		if policy, err = fragmentgen.OpenPolicy(ctx, text); err != nil {
			return fmt.Errorf("fragment pull: policy %q: %w", p.policy, err)
		}
	}
	list, problems, err := p.collect(ctx, place, policy)
	if err != nil {
		return fmt.Errorf("fragment pull: %w", err)
	}
	for _, problem := range problems {
		newUI(cmd.ErrOrStderr()).warn("fragment pull: passed over: %s", printable(problem.Error()))
	}
	err = p.write(cmd.OutOrStdout(), list)
	tell := cmd.OutOrStdout()
	if p.out == "-" {
		tell = cmd.ErrOrStderr()
	}
	var output error
	if p.json {
		output = encodeJSON(tell, list)
	} else {
		output = printPulled(tell, list)
	}
	if len(list) == 0 && err == nil {
		err = fmt.Errorf("fragment pull: %s has no fragment%s", place, p.asked())
	}
	return errors.Join(err, output)
}

// collect fetches what is there and keeps what was asked for.
func (p *fragmentPull) collect(ctx context.Context, place *artifact.Place, policy *fragmentgen.Policy) ([]*pulled, []error, error) {
	found, problems, err := place.List(ctx, p.platform)
	if err != nil {
		return nil, nil, err
	}
	list := []*pulled{}
	for _, f := range found {
		if p.digest != "" && f.Digest != p.digest {
			continue
		}
		raw, err := place.Fetch(ctx, f)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		one, err := p.look(ctx, f, raw, policy)
		if err != nil {
			return nil, nil, err
		}
		if p.wants(one) {
			list = append(list, one)
		}
	}
	return list, problems, nil
}

// maxStranger bounds the text of a signer whom nobody has named, in bytes. Reading Rego takes hundreds of times the memory of its text.
const maxStranger = 256 << 10

// look judges a document that somebody else has put there.
func (p *fragmentPull) look(ctx context.Context, f artifact.Found, raw []byte, policy *fragmentgen.Policy) (*pulled, error) {
	digest := sha256.Sum256(raw)
	one := &pulled{Found: f, SHA256: hex.EncodeToString(digest[:]), raw: raw}
	signed, err := fragment.Open(raw)
	if err != nil {
		one.Refused = err.Error()
		return one, nil
	}
	one.Issuer, one.Feed, one.Namespace = signed.Issuer, signed.Feed, signed.Namespace
	if signed.HeaderSVN != nil {
		one.SVN = strconv.FormatInt(*signed.HeaderSVN, 10)
	}
	switch {
	case !p.wantsSigner(one): // its text is of no interest
	case policy != nil:
		j, err := policy.Judge(ctx, raw)
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		one.SVN, one.Refused = j.SVN, strings.Join(j.Reasons, "; ")
	case p.issuer == "" && len(signed.Text) > maxStranger:
		one.Refused = fmt.Sprintf("not tried: its text has %d bytes, and nobody has named its signer (--issuer or --policy)", len(signed.Text))
	default:
		svn, err := fragmentgen.Load(ctx, raw)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			one.Refused = err.Error()
			return one, nil
		}
		one.SVN = svn
	}
	return one, nil
}

// wantsSigner says whether the flags leave issuer and feed in.
func (p *fragmentPull) wantsSigner(one *pulled) bool {
	return (p.issuer == "" || one.Issuer == p.issuer) && (p.feed == "" || one.Feed == p.feed)
}

// wants says whether the flags leave a fragment in.
func (p *fragmentPull) wants(one *pulled) bool {
	if !p.wantsSigner(one) {
		return false
	}
	if p.minimum == "" || one.Refused != "" {
		return true
	}
	have, err := strconv.ParseInt(one.SVN, 10, 64)
	want, wrong := strconv.ParseInt(p.minimum, 10, 64)
	return err == nil && wrong == nil && have >= want
}

// asked repeats what was asked for, for the error that nothing is left.
func (p *fragmentPull) asked() string {
	var said []string
	for _, f := range []struct{ name, value string }{{"issuer", p.issuer}, {"feed", p.feed}, {"minimum SVN", p.minimum}, {"digest", p.digest}} {
		if f.value != "" {
			said = append(said, fmt.Sprintf("%s %.512q", f.name, f.value))
		}
	}
	if len(said) == 0 {
		return ""
	}
	return " with " + strings.Join(said, ", ")
}

func (p *fragmentPull) write(stdout io.Writer, list []*pulled) error {
	var good []*pulled
	for _, one := range list {
		if one.Refused == "" {
			good = append(good, one)
		}
	}
	switch {
	case p.out == "" && p.dir == "":
		return nil
	case len(good) == 0 && len(list) > 0:
		return fmt.Errorf("fragment pull: nothing is written: %s", refusals(list))
	case len(good) == 0:
		return nil // the caller says so
	case p.out != "":
		one, err := newest(good)
		if err != nil {
			return err
		}
		if one.Output = p.out; p.out == "-" {
			_, err = stdout.Write(one.raw)
			return err
		}
		return writeDocument(p.out, one.raw)
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	for _, one := range good {
		one.Output = filepath.Join(p.dir, one.SHA256+".cose")
		if err := writeDocument(one.Output, one.raw); err != nil {
			return err
		}
	}
	return nil
}

// refusals says why nothing is left, of at most three fragments.
func refusals(list []*pulled) string {
	var texts []string
	for i, one := range list {
		if i == 3 {
			texts = append(texts, fmt.Sprintf("and %d more", len(list)-i))
			break
		}
		texts = append(texts, fmt.Sprintf("%.24s…: %s", one.Digest, one.Refused))
	}
	return printable(strings.Join(texts, "; "))
}

// newest is the one fragment, or of one issuer's feed that with the highest SVN.
func newest(list []*pulled) (*pulled, error) {
	best, highest, twice := list[0], int64(-1), false
	for _, one := range list {
		n, err := strconv.ParseInt(one.SVN, 10, 64)
		if len(list) > 1 && (one.Issuer != best.Issuer || one.Feed != best.Feed || err != nil) {
			return nil, fmt.Errorf("fragment pull: %d fragments are there, want one (choose with --issuer, --feed, --digest or --policy, or write all with --dir)", len(list))
		}
		if one.SHA256 == best.SHA256 && n == highest {
			continue // the same document, attached twice
		}
		twice = twice && n <= highest || n == highest
		if n > highest {
			best, highest = one, n
		}
	}
	if twice {
		return nil, fmt.Errorf("fragment pull: several fragments have SVN %d, the highest (choose with --digest, or write all with --dir)", highest)
	}
	return best, nil
}

func printPulled(w io.Writer, list []*pulled) error {
	p := &printer{w: w}
	if len(list) == 0 {
		return nil
	}
	rows := [][]string{{"FEED", "SVN", "BYTES", "ARTIFACT", "ISSUER", "STATE"}}
	for _, one := range list {
		state := "loads"
		switch {
		case one.Refused != "":
			state = "REFUSED: " + one.Refused
		case one.Output != "":
			state = "wrote " + one.Output
		}
		rows = append(rows, []string{orNoVersion(one.Feed), orNoVersion(one.SVN), strconv.FormatInt(one.Size, 10), one.Digest, orNoVersion(one.Issuer), state})
	}
	p.rows("", rows)
	return p.err
}
