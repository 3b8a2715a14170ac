package verify_test

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/measure/endorse"
	"github.com/cloister-cc/cloister/snp/verify"
)

const (
	uvmFeed = "ContainerPlat-AMD-UVM"
	uvmEKU  = "1.3.6.1.4.1.311.76.59.1.2"
)

// uvm is an endorsement in the making. The certificates' time is cosetest's: the year 2021, long over.
type uvm struct {
	chain        cosetest.Chain
	alg          int64
	issuer, feed string
	contentType  any
	time         any
	payload      string
	header       map[any]any // more of the protected header
}

var signingTime = time.Date(2021, 6, 1, 0, 0, 0, 0, time.UTC)

func newUVM(t testing.TB, key cosetest.KeyType) *uvm {
	t.Helper()
	c := cosetest.NewChain(t, cosetest.ChainOptions{Key: key, EKUs: []string{uvmEKU}})
	u := &uvm{
		chain: c, alg: cose.ES384, issuer: c.DID(t, "eku:"+uvmEKU), feed: uvmFeed, contentType: "application/json",
		time: cbor.Tag{Number: 1, Content: signingTime.Unix()}, payload: uvmPayload(`"104"`, "104", hex.EncodeToString(measurement[:])),
		header: map[any]any{},
	}
	if key == cosetest.RSA {
		u.alg = cose.PS384
	}
	return u
}

// uvmPayload leaves out what is empty.
func uvmPayload(svn, svnInt, digest string) string {
	var members []string
	for _, m := range [][2]string{{"guestsvn", svn}, {"guestsvn-int", svnInt}, {"launchmeasurement", `"` + digest + `"`}} {
		if m[1] != "" {
			members = append(members, fmt.Sprintf(`"x-ms-sevsnpvm-%s":%s`, m[0], m[1]))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (u *uvm) sign(t testing.TB) []byte {
	t.Helper()
	protected := map[any]any{1: u.alg, 33: u.chain.X5Chain(), "iss": u.issuer, "feed": u.feed}
	if u.contentType != nil {
		protected[3] = u.contentType
	}
	if u.time != nil {
		protected["signingtime"] = u.time
	}
	for k, v := range u.header {
		protected[k] = v
	}
	return cosetest.Forge(t, u.chain.Signer(), u.alg, protected, nil, []byte(u.payload), nil)
}

// judgeUVM verifies a sample's evidence with an endorsement.
func judgeUVM(t testing.TB, raw []byte, edit func(*verify.Expectations)) *verify.Verdict {
	t.Helper()
	ev := newSample(t, emulator.DefaultIdentity(), nil).evidence()
	ev.Endorsement = raw
	exp := expectations()
	exp.Measurements = nil // the endorsement stands for them
	edit(&exp)
	return judge(t, testVerifier(t), ev, exp)
}

func TestEndorsement(t *testing.T) {
	for name, key := range map[string]cosetest.KeyType{"ES384": cosetest.P384, "PS384": cosetest.RSA} {
		t.Run(name, func(t *testing.T) {
			u := newUVM(t, key)
			v := judgeUVM(t, u.sign(t), func(exp *verify.Expectations) {
				exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{"did:x509:0:sha256:other", u.issuer}, Feed: uvmFeed, MinSVN: 104}
			})
			if !v.OK {
				t.Errorf("refused: %+v", v.Failed())
			}
		})
	}
}

// What our own signer of launch digests makes is accepted.
func TestEndorsementOfOurOwn(t *testing.T) {
	c := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.P384})
	raw, err := endorse.Signer{Key: c.Signer(), Chain: c.Certs, Time: signingTime}.Sign(measure.Digest(measurement), 7)
	if err != nil {
		t.Fatal(err)
	}
	v := judgeUVM(t, raw, func(exp *verify.Expectations) {
		exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{c.DID(t, "subject")}, Feed: endorse.DefaultFeed, MinSVN: 7}
	})
	if !v.OK {
		t.Errorf("refused: %+v", v.Failed())
	}
}

// Without somebody whose word counts, an endorsement is not looked at and nobody is told that it was.
func TestEndorsementNotAsked(t *testing.T) {
	v := judgeUVM(t, []byte("hello"), func(*verify.Expectations) {})
	if got := status(v, "endorsement_signature"); !v.OK || got != verify.StatusNotAsked {
		t.Errorf("got ok %t, endorsement_signature %s, want it not asked", v.OK, got)
	}
}

// TestEndorsementMutants changes one thing at a time; each is refused by the check it is about and no other.
func TestEndorsementMutants(t *testing.T) {
	base := newUVM(t, cosetest.P384)
	other := newUVM(t, cosetest.P384)
	digest := hex.EncodeToString(measurement[:])
	at := func(y int, m time.Month, d int) any {
		return cbor.Tag{Number: 1, Content: time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()}
	}
	expired := func(i int) func(*uvm) {
		return func(u *uvm) {
			u.chain = cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.P384, EKUs: []string{uvmEKU}, Edit: func(n int, c *x509.Certificate) {
				if n == i {
					c.NotBefore = signingTime.Add(time.Second)
				}
			}})
			u.issuer = u.chain.DID(t, "eku:"+uvmEKU)
		}
	}
	payload := func(text string) func(*uvm) { return func(u *uvm) { u.payload = text } }
	const both = "endorsement_svn,endorsement_measurement"
	for _, c := range []struct {
		name string
		edit func(*uvm)
		raw  func([]byte) []byte
		want func(*verify.EndorsementPolicy)
		fail string
		got  string // in the first failed row
	}{
		{name: "absent", raw: func([]byte) []byte { return nil }, fail: "endorsement", got: "none"},
		{name: "not-cose", raw: func([]byte) []byte { return []byte("hello") }, fail: "endorsement_signature", got: "COSE_Sign1"},
		{name: "long", raw: func(b []byte) []byte { return append(b, make([]byte, verify.MaxEndorsement)...) }, fail: "endorsement_signature", got: "at most"},
		{name: "trailing-byte", raw: func(b []byte) []byte { return append(b, 0) }, fail: "endorsement_signature"},
		{name: "signature-bit", raw: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, fail: "endorsement_signature", got: "verification error"},
		{name: "other-key", edit: func(u *uvm) { u.chain.Keys = other.chain.Keys }, fail: "endorsement_signature", got: "verification error"},
		{name: "es256", edit: func(u *uvm) { u.alg = cose.ES256 }, fail: "endorsement_signature", got: "algorithm -7"},
		{name: "chain-broken", edit: func(u *uvm) { u.chain.Certs = append(u.chain.Certs[:1:1], other.chain.Certs[1:]...) }, fail: "endorsement_signature", got: "not the issuer"},
		{name: "chain-of-one", edit: func(u *uvm) { u.chain.Certs = u.chain.Certs[:1] }, fail: "endorsement_signature", got: "only the leaf"},
		{name: "no-signing-time", edit: func(u *uvm) { u.time = nil }, fail: "endorsement_signature", got: "no signing time"},
		{name: "signing-time-untagged", edit: func(u *uvm) { u.time = signingTime.Unix() }, fail: "endorsement_signature", got: "signingtime"},
		{name: "signed-before-leaf", edit: func(u *uvm) { u.time = at(2020, 12, 31) }, fail: "endorsement_signature", got: "CN=Test Leaf"},
		{name: "signed-after-leaf", edit: func(u *uvm) { u.time = at(2022, 1, 2) }, fail: "endorsement_signature", got: "CN=Test Leaf"},
		{name: "signed-before-intermediate", edit: expired(1), fail: "endorsement_signature", got: "CN=Test CA 1"},
		{name: "signed-before-root", edit: expired(2), fail: "endorsement_signature", got: "CN=Test CA 2"},
		{name: "signed-in-the-future", edit: func(u *uvm) { u.time = at(9999, 1, 1) }, fail: "endorsement_signature", got: "which is after"},

		{name: "other-issuer", want: func(p *verify.EndorsementPolicy) { p.Issuers = []string{other.issuer} }, fail: "endorsement_issuer", got: base.issuer},
		{name: "other-root-same-name", edit: func(u *uvm) { u.chain = other.chain }, fail: "endorsement_issuer", got: "fingerprint"},
		{
			name: "other-eku", edit: func(u *uvm) { u.issuer = strings.Replace(u.issuer, uvmEKU, "1.3.6.1.4.1.311.76.59.1.3", 1) },
			want: func(p *verify.EndorsementPolicy) {
				p.Issuers[0] = strings.Replace(p.Issuers[0], uvmEKU, "1.3.6.1.4.1.311.76.59.1.3", 1)
			}, fail: "endorsement_issuer", got: "eku",
		},
		{name: "no-issuer", edit: func(u *uvm) { u.issuer = "" }, fail: "endorsement_signature", got: "iss is empty"},
		{name: "other-feed", edit: func(u *uvm) { u.feed = "ConfAKS-AMD-UVM" }, fail: "endorsement_feed", got: "ConfAKS-AMD-UVM"},

		{name: "svn-too-old", want: func(p *verify.EndorsementPolicy) { p.MinSVN = 105 }, fail: "endorsement_svn", got: "104"},
		{name: "svn-9-is-below-104", edit: payload(uvmPayload(`"9"`, "9", digest)), fail: "endorsement_svn", got: "9"},
		{name: "svns-differ", edit: payload(uvmPayload(`"104"`, "105", digest)), fail: both, got: "104 and 105"},
		{name: "svn-of-header-differs", edit: func(u *uvm) { u.header[15] = map[any]any{1: u.issuer, 2: u.feed, "svn": 103} }, fail: both, got: "104 and 103"},
		{name: "no-svn", edit: payload(uvmPayload("", "", digest)), fail: both, got: "no guest svn"},
		{name: "svn-null", edit: payload(uvmPayload("null", "104", digest)), fail: both, got: "want a text"},
		{name: "svn-as-number", edit: payload(uvmPayload("104", "", digest)), fail: both, got: "want a text"},
		{name: "svn-int-as-text", edit: payload(uvmPayload("", `"104"`, digest)), fail: both, got: "decimal"},
		{name: "svn-int-null", edit: payload(uvmPayload(`"104"`, "null", digest)), fail: both, got: "decimal"},
		{name: "svn-leading-zero", edit: payload(uvmPayload(`"0104"`, "", digest)), fail: both, got: "decimal"},
		{name: "svn-negative", edit: payload(uvmPayload(`"-1"`, "", digest)), fail: both, got: "decimal"},
		{name: "svn-real", edit: payload(uvmPayload("", "104.0", digest)), fail: both, got: "decimal"},
		{name: "svn-huge", edit: payload(uvmPayload("", "18446744073709551616", digest)), fail: both, got: "decimal"},

		{name: "other-measurement", edit: payload(uvmPayload(`"104"`, "", strings.Repeat("0", 96))), fail: "endorsement_measurement", got: strings.Repeat("0", 96)},
		{name: "short-measurement", edit: payload(uvmPayload(`"104"`, "", digest[:94])), fail: both, got: "96 hex digits"},
		{name: "no-measurement", edit: payload(`{"x-ms-sevsnpvm-guestsvn":"104"}`), fail: both, got: "96 hex digits"},
		{name: "measurement-twice", edit: payload(`{"x-ms-sevsnpvm-launchmeasurement":"","x-ms-sevsnpvm-guestsvn":"104","x-ms-sevsnpvm-launchmeasurement":"` + digest + `"}`), fail: both, got: "duplicate"},
		{name: "measurement-other-case", edit: payload(`{"X-MS-sevsnpvm-launchmeasurement":"` + digest + `","x-ms-sevsnpvm-guestsvn":"104"}`), fail: both, got: "96 hex digits"},
		{name: "payload-not-json", edit: payload("hello"), fail: both, got: "invalid character"},
		{name: "no-content-type", edit: func(u *uvm) { u.contentType = nil }, fail: both, got: "content type"},
		{name: "other-content-type", edit: func(u *uvm) { u.contentType = "application/unknown+rego" }, fail: both, got: "content type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := *base
			u.header = map[any]any{}
			if c.edit != nil {
				c.edit(&u)
			}
			raw := u.sign(t)
			if c.raw != nil {
				raw = c.raw(raw)
			}
			v := judgeUVM(t, raw, func(exp *verify.Expectations) {
				exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{base.issuer, u.issuer}, Feed: uvmFeed, MinSVN: 104}
				if u.issuer == "" {
					exp.Endorsement.Issuers = []string{base.issuer}
				}
				if c.want != nil {
					exp.Endorsement.Issuers = exp.Endorsement.Issuers[:1]
					c.want(exp.Endorsement)
				}
			})
			if got := failed(v); v.OK || got != c.fail {
				t.Fatalf("failed checks: got %q, want %q: %+v", got, c.fail, v.Failed())
			}
			if got := v.Failed()[0].Got; !strings.Contains(got, c.got) {
				t.Errorf("got %q, want it to say %q", got, c.got)
			}
		})
	}
}

// Anything the measurement check alone would refuse stays refused with an endorsement, and the other way round.
func TestEndorsementBesideMeasurements(t *testing.T) {
	u := newUVM(t, cosetest.P384)
	for name, c := range map[string]struct {
		list [48]byte
		svn  uint64
		want string
	}{
		"both": {measurement, 104, ""}, "list-only": {measurement, 105, "endorsement_svn"}, "endorsement-only": {[48]byte{1}, 104, "measurement"},
	} {
		v := judgeUVM(t, u.sign(t), func(exp *verify.Expectations) {
			exp.Measurements = [][48]byte{c.list}
			exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{u.issuer}, Feed: uvmFeed, MinSVN: c.svn}
		})
		if got := failed(v); got != c.want {
			t.Errorf("%s: failed checks: got %q, want %q", name, got, c.want)
		}
	}
}

func FuzzReadEndorsement(f *testing.F) {
	f.Add(newUVM(f, cosetest.P384).sign(f))
	f.Add(vectorFile(f, "endorsement.cose"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := verify.ReadEndorsement(raw)
		switch {
		case err != nil && e != nil:
			t.Fatal("an error came with an endorsement")
		case err == nil && e.PayloadError == nil && e.ContentType != "application/json":
			t.Fatalf("a payload of type %q was read", e.ContentType)
		}
	})
}
