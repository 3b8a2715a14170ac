package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/tools/cloister/fragmentgen"
)

func newFragmentCommand() *cobra.Command {
	cmd := asGroup(&cobra.Command{
		Use:   "fragment",
		Short: "Write, sign, read and distribute additions to a policy",
		Long: `A fragment is a Rego text with containers (or other lists), signed with a certificate chain. A policy that names its issuer and
feed takes over what is in it, at its minimum SVN or newer, so that an image can be updated without changing the policy and the
HOST_DATA it is bound by. docs/fragments.md has a worked example.`,
	})
	cmd.AddCommand(
		newFragmentAttachCommand(),
		newFragmentGenerateCommand(),
		newFragmentInspectCommand(),
		newFragmentPullCommand(),
		newFragmentPushCommand(),
		newFragmentSignCommand(),
	)
	return cmd
}

// signerFlags say who signs a fragment.
type signerFlags struct {
	key, chain, algorithm, issuer, feed, claims, now string

	didPolicies []string
	headerSVN   int64
	noLoad      bool
}

func (s *signerFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.key, "key", "k", "", "private key that signs, PEM (PKCS #8, SEC 1 or PKCS #1)")
	f.StringVar(&s.chain, "chain", "", "its certificates, PEM, leaf first, root last")
	f.StringVar(&s.algorithm, "algo", "", "signature algorithm: "+strings.Join(fragmentgen.Algorithms(), ", ")+" (default: ES384, or with other keys PS384 or EdDSA)")
	f.StringVarP(&s.feed, "feed", "f", "", "name that policies know the fragment by, a repository without a tag")
	f.StringArrayVar(&s.didPolicies, "did-policy", nil, "what of the leaf the did:x509 names: subject[:ATTRIBUTE,…], eku, san, fulcio-issuer, or one with its value, e.g. eku:1.3.6.1.4.1.1 (default subject: the common name); may be given again")
	f.StringVar(&s.issuer, "issuer", "", "the whole did:x509, instead of --did-policy; the chain must resolve it")
	f.StringVar(&s.claims, "claims", "", "form of issuer and feed in the header: text (default; what every guest reads) or cwt (default with --header-svn)")
	f.Int64Var(&s.headerSVN, "header-svn", 0, "SVN to put into the header, too; it must be the text's")
	f.StringVar(&s.now, "now", "", "time to judge the certificates at, RFC 3339 (default: the clock)")
	f.BoolVar(&s.noLoad, "no-load", false, "do not try the result in an enforcer (for texts whose parameters have no defaults)")
}

// options reads the key and the chain.
func (s *signerFlags) options(cmd *cobra.Command) (fragmentgen.SignOptions, error) {
	name := commandName(cmd)
	o := fragmentgen.SignOptions{Algorithm: s.algorithm, Issuer: s.issuer, DIDPolicies: s.didPolicies, Feed: s.feed, CWT: s.claims == "cwt", NoLoad: s.noLoad}
	switch {
	case s.key == "" || s.chain == "":
		return o, &usageError{errors.New(name + ": --key and --chain come together (\"cloister dev signing init\" makes a pair to try out)")}
	case s.feed == "":
		return o, &usageError{errors.New(name + ": no feed given (--feed NAME)")}
	case s.issuer != "" && len(s.didPolicies) > 0:
		return o, &usageError{errors.New(name + ": --issuer and --did-policy contradict each other")}
	case s.claims != "" && s.claims != "text" && s.claims != "cwt":
		return o, &usageError{fmt.Errorf("%s: --claims is %.32q, want text or cwt", name, s.claims)}
	}
	if cmd.Flags().Changed("header-svn") {
		if s.claims == "text" {
			return o, &usageError{errors.New(name + ": --header-svn needs --claims cwt: text labels have no place for it")}
		}
		if s.headerSVN < 0 {
			return o, &usageError{fmt.Errorf("%s: --header-svn is %d, want 0 or more", name, s.headerSVN)}
		}
		o.SVN = &s.headerSVN
	}
	if err := fragmentgen.CheckFeed(s.feed); err != nil {
		return o, &usageError{fmt.Errorf("%s: %w", name, err)}
	}
	var err error
	if o.Now, err = timeFlag("now", s.now); err != nil {
		return o, err
	}
	if o.Key, err = readPrivateKey(s.key); err != nil {
		return o, err
	}
	o.Chain, err = readCertificates(s.chain)
	return o, err
}

// timeFlag is a point in time from a flag, else the clock's.
func timeFlag(name, text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, &usageError{fmt.Errorf("--%s: got %.64q, want RFC 3339, e.g. 2026-10-01T00:00:00Z", name, text)}
	}
	return at, nil
}

// hintDID adds to an error of the chain's identity what may be done about it.
func hintDID(err error) error {
	if errors.Is(err, cose.ErrDID) {
		return fmt.Errorf("%w (choose what identifies the signer with --did-policy: subject, eku, san or fulcio-issuer)", err)
	}
	return err
}

// writeDocument writes a file whole or not at all: a reader never sees a part of it.
func writeDocument(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
