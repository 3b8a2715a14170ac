package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

// section is one part of a file: a report, a certificate, an entry of the event log.
type section struct {
	Title  string  `json:"title"`
	Fields []field `json:"fields"`
}

type field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (s *section) add(name, format string, args ...any) {
	s.Fields = append(s.Fields, field{name, fmt.Sprintf(format, args...)})
}

// inspected is the JSON form of "attest inspect". Verified is always false, so that nobody who reads on takes it for a verdict.
type inspected struct {
	Format   string    `json:"format"`
	Verified bool      `json:"verified"`
	Sections []section `json:"sections"`
}

func newAttestInspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Print every field of evidence, certificates, endorsements, event logs and preimages, without judging",
		Long: `Inspect prints what a file says ("-" is standard input) and judges nothing: no signature is checked, and a forged file looks like a
genuine one. It takes everything that "attest verify" takes, and endorsements (COSE), event logs and preimages (CBOR) by themselves.`,
		Example: `  cloister attest inspect bundle.json
  cloister attest inspect vcek.der
  cloister attest inspect --json combined.json | jq -r '.sections[] | select(.title == "report").fields[] | "\(.name)=\(.value)"'`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readInput(args[0], cmd.InOrStdin(), verify.MaxFile)
			if err != nil {
				return err
			}
			out, err := inspect(data)
			if err != nil {
				return fmt.Errorf("attest inspect %q: %s", args[0], printable(err.Error())) // the file's words may be in it
			}
			if asJSON {
				return encodeJSON(cmd.OutOrStdout(), out)
			}
			return out.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// inspect tells what a file is by its content.
func inspect(data []byte) (*inspected, error) {
	f, errEvidence := verify.ReadEvidence(data)
	if errEvidence == nil {
		sections, err := evidenceSections(f)
		return &inspected{Format: string(f.Format), Sections: sections}, err
	}
	if f, err := verify.ReadCertificates(data); err == nil {
		sections, err := certificateSections(f)
		return &inspected{Format: string(f.Format), Sections: sections}, err
	}
	if s, err := endorsementSection(plainCOSE(data)); err == nil {
		return &inspected{Format: "endorsement of a measurement", Sections: []section{s}}, nil
	}
	if s, err := preimageSections(data); err == nil {
		return &inspected{Format: "preimage of identity evidence", Sections: s}, nil
	}
	if s, err := eventLogSections(data); err == nil {
		return &inspected{Format: "event log", Sections: s}, nil
	}
	return nil, fmt.Errorf("no certificates, endorsement, preimage or event log either: %w", errEvidence)
}

func (i *inspected) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, not verified: anybody can write what follows\n", i.Format)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range i.Sections {
		fmt.Fprintf(t, "\n%s\n", printable(s.Title))
		for _, f := range s.Fields {
			fmt.Fprintf(t, "  %s\t%s\n", f.Name, printable(f.Value))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func evidenceSections(f *verify.File) ([]section, error) {
	r, err := reportSection(f.Evidence.Report)
	if err != nil {
		return nil, err
	}
	out := []section{r}
	if s := fileSection(f); len(s.Fields) > 0 {
		out = append(out, s)
	}
	certs, err := certificateSections(f)
	if err != nil {
		certs = []section{{Title: "certificates", Fields: []field{{"error", err.Error()}}}}
	}
	out = append(out, certs...)
	ev := &f.Evidence
	if len(ev.Endorsement) > 0 {
		s, err := endorsementSection(ev.Endorsement)
		if err != nil {
			s = section{Title: "endorsement", Fields: []field{{"error", err.Error()}}}
		}
		out = append(out, s)
	}
	for _, part := range []struct {
		title string
		data  []byte
		read  func([]byte) ([]section, error)
	}{{"preimage", ev.Preimage, preimageSections}, {"event log", ev.EventLog, eventLogSections}} {
		if len(part.data) == 0 {
			continue
		}
		s, err := part.read(part.data)
		if err != nil {
			s = []section{{Title: part.title, Fields: []field{{"error", err.Error()}}}}
		}
		out = append(out, s...)
	}
	return out, nil
}

func endorsementSection(raw []byte) (section, error) {
	s := section{Title: "endorsement"}
	e, err := verify.ReadEndorsement(raw)
	if err != nil {
		return s, err
	}
	s.add("algorithm", "%d", e.Algorithm)
	s.add("issuer", "%s", e.Issuer)
	s.add("feed", "%s", e.Feed)
	s.add("signed_at", "%s", when(e.SignedAt))
	s.add("content_type", "%s", e.ContentType)
	for i, name := range e.Chain {
		s.add(fmt.Sprintf("chain[%d]", i), "%s", name)
	}
	if e.PayloadError != nil {
		s.add("payload", "%v", e.PayloadError)
		return s, nil
	}
	s.add("svn", "%d", e.SVN)
	s.add("measurement", "%x", e.Measurement)
	return s, nil
}

func preimageSections(data []byte) ([]section, error) {
	p, err := identity.Parse(data)
	if err != nil {
		return nil, err
	}
	s := section{Title: "preimage"}
	s.add("report_data", "%x", identity.ReportData(data))
	s.add("policy", "%x", p.PolicyDigest)
	for i, e := range p.Entries {
		name := fmt.Sprintf("entries[%d]", i)
		if e.Fragment == nil {
			s.add(name, "%d", e.Index)
			continue
		}
		s.add(name, "%d of fragment %s, feed %s, svn %s", e.Index, e.Fragment.Issuer, e.Fragment.Feed, e.Fragment.SVN)
	}
	for i, l := range p.Layers {
		s.add(fmt.Sprintf("layers[%d]", i), "%x", l)
	}
	s.add("args", "%x", p.Args)
	s.add("event_log", "%x", p.EventHead)
	s.add("nonce", "%x", p.Nonce)
	s.add("claimed.id", "%s", p.Claimed.ID)
	for i, n := range p.Claimed.Names {
		s.add(fmt.Sprintf("claimed.names[%d]", i), "%s", n)
	}
	s.add("claimed.image", "%s", p.Claimed.Image)
	return []section{s}, nil
}

// eventLogSections replays the log, for that is how its entries are read; whether its head is the evidence's is not looked at.
func eventLogSections(data []byte) ([]section, error) {
	x, err := eventlog.Parse(data)
	if err != nil {
		return nil, err
	}
	s := section{Title: "event log"}
	s.add("first", "%d", x.First)
	s.add("base", "%x", x.Base)
	s.add("head", "%x", x.Head)
	s.add("entries", "%d", len(x.Entries))
	out := []section{s}
	for i, raw := range x.Entries {
		e, err := eventlog.ParseEntry(raw)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("entry %d of the list", i), err)
		}
		out = append(out, entrySection(e))
	}
	return out, nil
}
