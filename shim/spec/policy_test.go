package spec_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/spec"
)

const policyText = "package policy\n\napi_version := \"0.10.0\"\n"

func base(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func packed(t *testing.T, members ...[]byte) string {
	t.Helper()
	var out bytes.Buffer
	for _, m := range members {
		w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return base(out.Bytes())
}

func document(t *testing.T, algorithm, policy string) *initdata.Document {
	t.Helper()
	doc, err := initdata.Build(algorithm, map[string]string{initdata.PolicyKey: policy})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestPolicyOf(t *testing.T) {
	doc := document(t, "sha384", policyText)
	sum384 := sha512.Sum384(doc.Raw)
	cases := []struct {
		name        string
		annotations map[string]string
		carrier     boot.Carrier
		from        string
		hostData    [32]byte
	}{
		{"none", map[string]string{"other": "x"}, "", "", [32]byte{}},
		{"kata", map[string]string{spec.AnnotationKataPolicy: base([]byte(policyText))}, boot.CarrierSetPolicy, spec.AnnotationKataPolicy, sha256.Sum256([]byte(policyText))},
		{"own-text", map[string]string{spec.AnnotationPolicy: policyText}, boot.CarrierSetPolicy, spec.AnnotationPolicy, sha256.Sum256([]byte(policyText))},
		{"own-base64", map[string]string{spec.AnnotationPolicy: base([]byte(policyText)) + "\n"}, boot.CarrierSetPolicy, spec.AnnotationPolicy, sha256.Sum256([]byte(policyText))},
		{"initdata", map[string]string{spec.AnnotationInitdata: packed(t, doc.Raw)}, boot.CarrierInitdata, spec.AnnotationInitdata, [32]byte(sum384[:32])},
		{
			"same-policy-twice",
			map[string]string{spec.AnnotationInitdata: packed(t, doc.Raw), spec.AnnotationKataPolicy: base([]byte(policyText))},
			boot.CarrierInitdata, spec.AnnotationInitdata, [32]byte(sum384[:32]),
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := spec.PolicyOf(c.annotations)
			if err != nil {
				t.Fatal(err)
			}
			if got.Carrier != c.carrier || got.From != c.from || got.HostData != c.hostData {
				t.Errorf("got %q from %q with HOST_DATA %x, want %q from %q with %x", got.Carrier, got.From, got.HostData, c.carrier, c.from, c.hostData)
			}
			if c.from != "" && string(got.Policy) != policyText {
				t.Errorf("got policy %q, want the one that was put in", got.Policy)
			}
			if want := c.carrier == boot.CarrierInitdata; want != bytes.Equal(got.Initdata, doc.Raw) {
				t.Errorf("got document of %d bytes, want one: %t", len(got.Initdata), want)
			}
		})
	}
}

func TestPolicyOfRefuses(t *testing.T) {
	doc := document(t, "sha256", policyText)
	bare, err := initdata.Build("sha256", map[string]string{"aa.toml": "x"})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		annotations map[string]string
		want        string
	}{
		"not-base64":      {map[string]string{spec.AnnotationKataPolicy: "!!"}, "is not base64"},
		"not-utf8":        {map[string]string{spec.AnnotationKataPolicy: base([]byte{0xff})}, "not UTF-8"},
		"empty":           {map[string]string{spec.AnnotationPolicy: " "}, "empty"},
		"too-long-text":   {map[string]string{spec.AnnotationPolicy: policyText + strings.Repeat("#", spec.MaxPolicy)}, "want at most"},
		"too-long-base64": {map[string]string{spec.AnnotationKataPolicy: strings.Repeat("A", 8<<20)}, "want at most"},
		"two-policies":    {map[string]string{spec.AnnotationPolicy: policyText + "#", spec.AnnotationKataPolicy: base([]byte(policyText))}, "two policies"},
		"not-gzip":        {map[string]string{spec.AnnotationInitdata: base(doc.Raw)}, "gzip"},
		"two-members":     {map[string]string{spec.AnnotationInitdata: packed(t, doc.Raw, doc.Raw)}, "after its end"},
		"no-policy":       {map[string]string{spec.AnnotationInitdata: packed(t, bare.Raw)}, "no policy.rego"},
		"bomb":            {map[string]string{spec.AnnotationInitdata: packed(t, make([]byte, initdata.MaxUnpacked+1))}, "unpacked document: got more than 8388608 bytes, want at most 8388608"},
		"large":           {map[string]string{spec.AnnotationInitdata: packed(t, append(doc.Raw, make([]byte, 8<<20)...))}, "8388608"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := spec.PolicyOf(c.annotations)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v and %v, want an error with %q", got.From, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "api_version") {
				t.Errorf("the error repeats the policy: %v", err)
			}
		})
	}
}

func TestPolicyFrom(t *testing.T) {
	got, err := spec.PolicyFrom([]byte(policyText), "default_policy")
	if err != nil || got.From != "default_policy" || got.HostData != sha256.Sum256([]byte(policyText)) {
		t.Errorf("got %+v and %v", got, err)
	}
	if _, err := spec.PolicyFrom(nil, "default_policy"); err == nil {
		t.Error("an empty policy was taken")
	}
}

func FuzzPolicyOf(f *testing.F) {
	f.Add(policyText, "", "")
	f.Add("", base([]byte(policyText)), "")
	doc, err := initdata.Build("sha512", map[string]string{initdata.PolicyKey: policyText})
	if err != nil {
		f.Fatal(err)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(doc.Raw)
	_ = w.Close()
	f.Add("", "", base(z.Bytes()))
	f.Fuzz(func(t *testing.T, own, kata, document string) {
		got, err := spec.PolicyOf(map[string]string{spec.AnnotationPolicy: own, spec.AnnotationKataPolicy: kata, spec.AnnotationInitdata: document})
		if err != nil {
			return
		}
		if got.From == "" {
			if own != "" || kata != "" || document != "" {
				t.Error("an annotation was passed over")
			}
			return
		}
		if got.HostData == [32]byte{} || len(got.Policy) == 0 {
			t.Errorf("got HOST_DATA %x for a policy of %d bytes", got.HostData, len(got.Policy))
		}
		if got.Carrier == boot.CarrierSetPolicy && got.HostData != sha256.Sum256(got.Policy) {
			t.Error("HOST_DATA is not the policy's hash")
		}
	})
}
