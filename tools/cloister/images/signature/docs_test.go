package signature

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocs keeps docs/signatures.md true: the syntax as the help has it, and the bounds.
func TestDocs(t *testing.T) {
	raw, err := os.ReadFile("../../../../docs/signatures.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, want := range []string{
		Syntax, signPredicate, cosignArtifact, bundlePrefix + ".v0.3+json", notationArtifact, companySigner,
		fmt.Sprintf("At most %d signatures of an image and 1,000 manifests", maxSignatures),
		fmt.Sprintf("%d MiB for a manifest or a Notary Project envelope, %d KiB for a payload, %d MiB for a\nbundle, %d MiB for all of them, %d certificates", maxManifest>>20, maxPayload>>10, maxBundle>>20, maxTotal>>20, maxChain),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/signatures.md does not say %q", want)
		}
	}
	if maxReferrers != 1000 || maxEnvelope != maxManifest {
		t.Error("docs/signatures.md gives other bounds")
	}
}
