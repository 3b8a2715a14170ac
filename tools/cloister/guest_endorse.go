package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/measure/endorse"
)

// endorseFlags say who signs the digests of an image, and where the documents go.
type endorseFlags struct {
	out, key, chain, at string
	issuer, feed        string
	svn                 uint64
}

func (e *endorseFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&e.out, "endorsement", "", "directory to write a signed endorsement of each launch digest to")
	f.StringVar(&e.key, "endorsement-key", "", "private key that signs, PEM: P-384 (ES384, the same bytes each time) or RSA (PS384)")
	f.StringVar(&e.chain, "endorsement-chain", "", "its certificates, PEM, leaf first, root last")
	f.StringVar(&e.at, "endorsement-time", "", "time of signing, RFC 3339: the certificates must be valid then")
	f.Uint64Var(&e.svn, "endorsement-svn", 0, "the image's security version")
	f.StringVar(&e.issuer, "endorsement-issuer", "", "did:x509 of the signer (default: made of the leaf's subject)")
	f.StringVar(&e.feed, "endorsement-feed", endorse.DefaultFeed, "name of the image among the signer's documents")
}

// endorseNames are the flags that mean nothing without a directory.
var endorseNames = []string{"endorsement-key", "endorsement-chain", "endorsement-time", "endorsement-svn", "endorsement-issuer", "endorsement-feed"}

// signer reads key and chain and tries them, before the time for a build is spent. It is nil if nothing is to be signed.
func (e *endorseFlags) signer(cmd *cobra.Command, image string) (*endorse.Signer, error) {
	f := cmd.Flags()
	if e.out == "" {
		for _, name := range endorseNames {
			if f.Changed(name) {
				return nil, &usageError{fmt.Errorf("guest build: --%s needs --endorsement DIR", name)}
			}
		}
		return nil, nil
	}
	for _, name := range []string{"endorsement-key", "endorsement-chain", "endorsement-time", "endorsement-svn"} {
		if !f.Changed(name) {
			return nil, &usageError{fmt.Errorf("guest build: --endorsement needs --%s", name)}
		}
	}
	if within(e.out, image) {
		return nil, &usageError{errors.New("guest build: --endorsement names a directory in the image's, which holds the image's files and nothing else")}
	}
	at, err := time.Parse(time.RFC3339, e.at)
	if err != nil {
		return nil, &usageError{fmt.Errorf("--endorsement-time: got %.64q, want RFC 3339, e.g. 2026-10-01T00:00:00Z", e.at)}
	}
	s := &endorse.Signer{Issuer: e.issuer, Feed: e.feed, Time: at}
	if s.Key, err = readPrivateKey(e.key); err != nil {
		return nil, err
	}
	if s.Chain, err = readCertificates(e.chain); err != nil {
		return nil, err
	}
	_, err = s.Sign(measure.Digest{1}, e.svn)
	return s, err
}

// within says whether a path is a directory or lies in it.
func within(path, dir string) bool {
	a, errA := filepath.Abs(path)
	b, errB := filepath.Abs(dir)
	if errA != nil || errB != nil {
		return true
	}
	rel, err := filepath.Rel(b, a)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// endorsed are the documents to write, by file name: one a launch digest, or that of the software processor where no launch was measured.
func endorsed(m guest.Measurements) map[string]string {
	if m.Launch == nil {
		return map[string]string{"emulated.cose": m.Emulated}
	}
	out := map[string]string{}
	for i, d := range m.Launch.Digests {
		out[fmt.Sprintf("vcpus-%d.cose", i+1)] = d
	}
	return out
}

func (e *endorseFlags) write(s *endorse.Signer, m guest.Measurements) (int, error) {
	if err := os.MkdirAll(e.out, 0o755); err != nil {
		return 0, err
	}
	documents := endorsed(m)
	for name, text := range documents {
		digest, err := measure.ParseDigest(text)
		if err != nil {
			return 0, err
		}
		raw, err := s.Sign(digest, e.svn)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(filepath.Join(e.out, name), raw, 0o644); err != nil {
			return 0, err
		}
	}
	return len(documents), nil
}
