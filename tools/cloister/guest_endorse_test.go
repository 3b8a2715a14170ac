package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/verify"
)

// endorseBench has a signer's files.
type endorseBench struct {
	dir, key, chain string
	certs           cosetest.Chain
}

func newEndorseBench(t *testing.T) endorseBench {
	t.Helper()
	dir := t.TempDir()
	b := endorseBench{dir, filepath.Join(dir, "key.pem"), filepath.Join(dir, "chain.pem"), cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.P384})}
	der, err := x509.MarshalPKCS8PrivateKey(b.certs.Signer())
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range b.certs.Certs {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	for path, data := range map[string][]byte{b.key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), b.chain: chain} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// flags parses a command line of endorsement flags.
func (b endorseBench) flags(t *testing.T, more ...string) (*endorseFlags, *cobra.Command) {
	t.Helper()
	var e endorseFlags
	cmd := &cobra.Command{}
	e.add(cmd)
	args := append([]string{
		"--endorsement", filepath.Join(b.dir, "endorsement"), "--endorsement-key", b.key, "--endorsement-chain", b.chain,
		"--endorsement-time", cosetest.NotBefore.Add(time.Hour).Format(time.RFC3339), "--endorsement-svn", "7",
	}, more...)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return &e, cmd
}

// TestEndorseImage signs what measurements.json has, one document a digest, and reads each as a relying party does.
func TestEndorseImage(t *testing.T) {
	b := newEndorseBench(t)
	digest := func(i byte) string { return measure.Digest{i, i}.String() }
	for name, c := range map[string]struct {
		m    guest.Measurements
		want map[string]string
	}{
		"emulated": {guest.Measurements{Emulated: digest(9)}, map[string]string{"emulated.cose": digest(9)}},
		"launch": {
			guest.Measurements{Emulated: digest(9), Launch: &guest.LaunchDigests{Digests: []string{digest(1), digest(2), digest(3)}}},
			map[string]string{"vcpus-1.cose": digest(1), "vcpus-2.cose": digest(2), "vcpus-3.cose": digest(3)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(b.dir, name)
			e, f := b.flags(t, "--endorsement", out)
			signer, err := e.signer(f, filepath.Join(b.dir, "image"))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := e.write(signer, c.m); err != nil || n != len(c.want) {
				t.Fatalf("got %d documents, %v, want %d", n, err, len(c.want))
			}
			entries, err := os.ReadDir(out)
			if err != nil || len(entries) != len(c.want) {
				t.Errorf("got %d files, %v, want %d", len(entries), err, len(c.want))
			}
			for file, want := range c.want {
				raw, err := os.ReadFile(filepath.Join(out, file))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := cose.Open(raw, cose.Options{}); err != nil {
					t.Errorf("%s: %v", file, err)
				}
				got, err := verify.ReadEndorsement(raw)
				if err != nil || measure.Digest(got.Measurement).String() != want || got.SVN != 7 || got.Issuer != b.certs.DID(t, "subject") || got.Feed != "Cloister-AMD-UVM" {
					t.Errorf("%s: got %+v %v, want measurement %s", file, got, err, want)
				}
			}
		})
	}
}

func TestEndorseRefused(t *testing.T) {
	b := newEndorseBench(t)
	empty := filepath.Join(b.dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(b.dir, "image")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"in-the-image":    {[]string{"--endorsement", filepath.Join(image, "sub")}, "in the image's"},
		"is-the-image":    {[]string{"--endorsement", image + "/."}, "in the image's"},
		"time":            {[]string{"--endorsement-time", "yesterday"}, "RFC 3339"},
		"outside-of-time": {[]string{"--endorsement-time", "2031-01-01T00:00:00Z"}, "is valid from"},
		"no-key":          {[]string{"--endorsement-key", empty}, "no private key"},
		"no-chain":        {[]string{"--endorsement-chain", empty}, "none in PEM"},
		"other-issuer":    {[]string{"--endorsement-issuer", "did:x509:0:sha256:AAAA::subject:CN:x"}, "would be refused"},
	} {
		t.Run(name, func(t *testing.T) {
			e, f := b.flags(t, c.args...)
			if s, err := e.signer(f, image); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v, want an error with %q", s, err, c.want)
			}
		})
	}
	// A neighbour whose name begins alike is not in the image.
	e, f := b.flags(t, "--endorsement", image+"-endorsement")
	if _, err := e.signer(f, image); err != nil {
		t.Error(err)
	}
}
