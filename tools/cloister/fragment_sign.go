package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

type fragmentSign struct {
	signerFlags
	out  string
	json bool
}

func newFragmentSignCommand() *cobra.Command {
	var s fragmentSign
	cmd := &cobra.Command{
		Use:   "sign --key KEY --chain CHAIN --feed FEED [-o FILE] TEXT",
		Short: "Sign a fragment's text",
		Long: `Sign writes the COSE_Sign1 document of a fragment's Rego text ("-" is standard input) to TEXT.cose or -o, "-" for standard output, and
prints the did:x509 by which policies name the signer. The chain travels in the document; a policy pins its root's fingerprint
and something of the leaf: the subject's common name, unless --did-policy says otherwise.

The key must be the leaf's, and every certificate valid now. A chain of one certificate is refused: a did:x509 names an issuer.
With --header-svn issuer, feed and SVN are CWT claims, which only newer guests read; the text's own svn counts everywhere.
The result is opened and loaded by the code that guests run before it is written.`,
		Example: `  cloister dev signing init --dir signing
  cloister fragment sign --key signing/key.pem --chain signing/chain.pem --feed registry.example/side side.rego
  cloister fragment sign --key key.pem --chain chain.pem --feed registry.example/side --did-policy eku --algo ES256 -o side.cose side.rego`,
		Args: exactly("TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0]) },
	}
	s.add(cmd)
	cmd.Flags().StringVarP(&s.out, "output", "o", "", "file to write (default TEXT.cose)")
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON")
	return cmd
}

func (s *fragmentSign) run(cmd *cobra.Command, name string) error {
	if s.out == "" {
		if name == "-" {
			return &usageError{errors.New("fragment sign: no file to write given (-o FILE)")}
		}
		s.out = name + ".cose"
	}
	o, err := s.options(cmd)
	if err != nil {
		return err
	}
	text, err := readInput(name, cmd.InOrStdin(), fragment.MaxSize)
	if err != nil {
		return err
	}
	return signText(cmd, text, o, s.out, s.json)
}

// signedResult is what --json prints of a signed document.
type signedResult struct {
	Issuer    string `json:"issuer"`
	Feed      string `json:"feed"`
	SVN       string `json:"svn,omitempty"`
	Algorithm string `json:"algorithm"`
	Bytes     int    `json:"bytes"`
	SHA256    string `json:"sha256"`
	Output    string `json:"output,omitempty"`
}

// signText signs, writes and tells. What is told goes to standard error when the document goes to standard output.
func signText(cmd *cobra.Command, text []byte, o fragmentgen.SignOptions, out string, asJSON bool) error {
	signed, err := fragmentgen.Sign(cmd.Context(), text, o)
	if err != nil {
		return fmt.Errorf("%s: %w", commandName(cmd), hintDID(err))
	}
	if fragmentgen.FeedHasTag(signed.Feed) {
		newUI(cmd.ErrOrStderr()).warn("feed %q ends in a tag or digest: every version will be another feed, which no policy follows", signed.Feed)
	}
	tell := cmd.OutOrStdout()
	if out == "-" {
		tell = cmd.ErrOrStderr()
		_, err = cmd.OutOrStdout().Write(signed.Raw)
	} else {
		err = writeDocument(out, signed.Raw)
	}
	if err != nil {
		return err
	}
	return tellSigned(tell, signed, out, asJSON)
}

func tellSigned(w io.Writer, signed *fragmentgen.Signed, out string, asJSON bool) error {
	digest := sha256.Sum256(signed.Raw)
	r := signedResult{signed.Issuer, signed.Feed, signed.SVN, signed.Algorithm, len(signed.Raw), hex.EncodeToString(digest[:]), strings.TrimPrefix(out, "-")}
	if asJSON {
		return encodeJSON(w, r)
	}
	p := &printer{w: w}
	p.rows("", [][]string{{"issuer", r.Issuer}, {"feed", r.Feed}, {"svn", orUnknown(r.SVN)}, {"algorithm", r.Algorithm}, {"sha256", r.SHA256}})
	if r.Output != "" {
		p.line("wrote %s, %d bytes", r.Output, r.Bytes)
	}
	return p.err
}

func orUnknown(text string) string {
	if text == "" {
		return "not known"
	}
	return text
}

// readSigned reads a signed document. Its reader judges it.
func readSigned(name string, stdin io.Reader) ([]byte, error) {
	raw, err := readInput(name, stdin, fragment.MaxSize)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("read %q: the file is empty", name)
	}
	if _, err := fragment.Namespace(string(raw)); err == nil {
		return nil, fmt.Errorf("read %q: it is a fragment's text, want the signed document (\"cloister fragment sign\" makes it)", name)
	}
	return raw, nil
}

// exists says whether a path is there.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
