package main

import (
	"bytes"
	"crypto/x509"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/cloister-cc/cloister/cose/cosetest"
)

// testRegistry is a registry on the loopback with one image.
func testRegistry(t *testing.T, referrers bool) (image string) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	image = strings.TrimPrefix(server.URL, "http://") + "/app:1"
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	random, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, random); err != nil {
		t.Fatal(err)
	}
	return image
}

// From containers to a policy that accepts the fragment which was found beside an image.
func TestFragmentRoundTrip(t *testing.T) {
	for name, referrers := range map[string]bool{"referrers-api": true, "tag-schema": false} {
		t.Run(name, func(t *testing.T) {
			fragmentDir(t)
			image := testRegistry(t, referrers)
			makeFragment(t, "one", "1")
			makeFragment(t, "two", "2")
			for _, f := range []string{"one.cose", "two.cose"} {
				if out := mustFragment(t, "attach", f, image); !strings.Contains(out, "attached to  sha256:") {
					t.Errorf("got %q", out)
				}
			}
			if out := mustFragment(t, "pull", image); strings.Count(out, "registry.example/side") != 2 || strings.Count(out, "loads") != 2 {
				t.Errorf("got %q", out)
			}
			// The newest of one issuer and feed.
			mustFragment(t, "pull", "-o", "pulled.cose", image)
			policyWith(t, "policy.rego", mustFragment(t, "generate", "--generate-import", "-p", "pulled.cose"))
			if out := mustFragment(t, "inspect", "--policy", "policy.rego", "pulled.cose"); !strings.Contains(out, "policy: accepts it and takes over containers") || !strings.Contains(out, "2, none in the header") {
				t.Errorf("got %q", out)
			}
			if _, _, err := fragmentCommand(t, "", "inspect", "--policy", "policy.rego", "one.cose"); err == nil || !strings.Contains(err.Error(), "below the specified minimum") {
				t.Errorf("got %v", err)
			}
			mustFragment(t, "pull", "--policy", "policy.rego", "--dir", "all", image)
			written, err := filepath.Glob("all/*.cose")
			if err != nil || len(written) != 1 {
				t.Errorf("got %q, %v", written, err)
			}
		})
	}
}

// What strangers attach is told, and not written.
func TestFragmentPullChooses(t *testing.T) {
	fragmentDir(t)
	image := testRegistry(t, true)
	makeFragment(t, "one", "1")
	mustFragment(t, "attach", "one.cose", image)
	issuer := strings.Fields(mustFragment(t, signArgs("-o", "x", "one.rego")...))[1]

	stranger := cosetest.NewChain(t, cosetest.ChainOptions{Edit: func(_ int, c *x509.Certificate) { c.NotAfter = time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC) }})
	writePEMs(t, "stranger.pem", stranger.Keys[0])
	writePEMs(t, "stranger-chain.pem", stranger.Certs[0], stranger.Certs[1], stranger.Certs[2])
	mustFragment(t, "generate", "--namespace", "side", "--svn", "9", "--containers", "containers.json", "-o", "nine.rego")
	mustFragment(t, "sign", "--key", "stranger.pem", "--chain", "stranger-chain.pem", "--feed", "registry.example/side", "--now", fixtureNow, "-o", "nine.cose", "nine.rego")
	mustFragment(t, "attach", "nine.cose", image)

	if _, _, err := fragmentCommand(t, "", "pull", "-o", "out.cose", image); err == nil || !strings.Contains(err.Error(), "2 fragments are there") || exists("out.cose") {
		t.Errorf("got %v", err)
	}
	mustFragment(t, "pull", "-o", "out.cose", "--issuer", issuer, image)
	one, errOne := os.ReadFile("one.cose")
	out, errOut := os.ReadFile("out.cose")
	if errOne != nil || errOut != nil || !bytes.Equal(one, out) {
		t.Errorf("got another document: %v, %v", errOne, errOut)
	}
	for _, none := range [][]string{{"--issuer", "did:x509:0:sha256:x"}, {"--feed", "other"}, {"--minimum-svn", "10"}, {"--digest", "sha256:" + strings.Repeat("0", 64)}} {
		stdout, _, err := fragmentCommand(t, "", append([]string{"pull", "-o", "none.cose", image}, none...)...)
		if err == nil || !strings.Contains(err.Error(), none[1]) || stdout != "" || exists("none.cose") {
			t.Errorf("%q: got %q, %v", none, stdout, err)
		}
	}
}

// A policy is asked before a stranger's text is read, and says why it takes none.
func TestFragmentPullPolicy(t *testing.T) {
	fragmentDir(t)
	makeFragment(t, "one", "1")
	mustFragment(t, "push", "one.cose", "oci:layout:one")
	policyWith(t, "newer.rego", mustFragment(t, "generate", "--generate-import", "-p", "one.cose", "--minimum-svn", "2"))
	stdout, _, err := fragmentCommand(t, "", "pull", "--policy", "newer.rego", "-o", "out.cose", "oci:layout:one")
	if exitCode(err) != exitFailed || !strings.Contains(err.Error(), "below the specified minimum") || exists("out.cose") || !strings.Contains(stdout, "REFUSED") {
		t.Errorf("got %q, %v", stdout, err)
	}
	policyWith(t, "policy.rego", mustFragment(t, "generate", "--generate-import", "-p", "one.cose"))
	stdout, stderr, err := fragmentCommand(t, "", "pull", "--policy", "policy.rego", "-o", "-", "oci:layout:one")
	want, wrong := os.ReadFile("one.cose")
	if err != nil || wrong != nil || stdout != string(want) || !strings.Contains(stderr, "registry.example/side") {
		t.Errorf("got %d bytes, %q, %v, %v", len(stdout), stderr, err, wrong)
	}

	// A long text of nobody in particular is not read, unless its signer is named.
	text, err := os.ReadFile("one.rego")
	if err != nil {
		t.Fatal(err)
	}
	writeHere(t, "long.rego", string(text)+strings.Repeat("# "+strings.Repeat("x", 1022)+"\n", 257))
	issuer := strings.Fields(mustFragment(t, signArgs("-o", "long.cose", "long.rego")...))[1]
	mustFragment(t, "push", "long.cose", "oci:layout:long")
	if out := mustFragment(t, "pull", "oci:layout:long"); !strings.Contains(out, "not tried") {
		t.Errorf("got %q", out)
	}
	if out := mustFragment(t, "pull", "--issuer", issuer, "oci:layout:long"); !strings.Contains(out, "loads") {
		t.Errorf("got %q", out)
	}
}
