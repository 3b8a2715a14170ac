package attest

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

var testPolicy = &Policy{Text: []byte("package policy"), Carrier: snp.CarrierPolicy, Digest: [32]byte{0xD1}}

// withPolicy are options with which there is identity evidence.
func withPolicy(log EventLog) Options {
	return Options{Policy: func() *Policy { return testPolicy }, Events: log, UVMEndorsement: func() []byte { return []byte("cose") }}
}

func newLog() *eventlog.Log { return eventlog.New(eventlog.Entry{Version: "test"}, eventlog.Limits{}) }

// named is a container with something in every field of its identity.
func named(key string, index uint32) Identity {
	id := container(key)
	id.Layers = [][32]byte{{2}, {1}}
	id.Args = identity.ArgsDigest([]string{"/bin/" + key})
	id.Claimed = identity.Claimed{ID: key, Names: []string{"name of " + key}, Image: "image"}
	id.Entries = func() ([]identity.Entry, error) {
		return []identity.Entry{{Index: index}, {Index: 0}, {Index: index}}, nil
	}
	return id
}

func listenAs(t testing.TB, b *Broker, id Identity) *client {
	t.Helper()
	path, _, err := b.Listen(t.Context(), id, t.TempDir()+"/attest")
	if err != nil {
		t.Fatal(err)
	}
	return dialer(t, path)
}

func nonceBody(nonce []byte) string { return fmt.Sprintf(`{"nonce":"%x"}`, nonce) }

var testNonce = bytes.Repeat([]byte{7}, 32)

// evidence asks for identity evidence and takes it apart.
func (c *client) evidence(nonce []byte) (*snp.Bundle, *snp.Report, *identity.Preimage, *eventlog.Excerpt) {
	c.t.Helper()
	status, out := c.do("POST", "/v1/evidence", nonceBody(nonce))
	if status != http.StatusOK {
		c.t.Fatalf("got status %d: %s", status, out)
	}
	bundle, err := snp.ParseBundle(out)
	if err != nil {
		c.t.Fatal(err)
	}
	report, err := snp.ParseReport(bundle.Report)
	if err != nil {
		c.t.Fatal(err)
	}
	preimage, err := identity.Parse(bundle.Preimage)
	if err != nil {
		c.t.Fatal(err)
	}
	events, err := eventlog.Parse(bundle.EventLog)
	if err != nil {
		c.t.Fatal(err)
	}
	return bundle, report, preimage, events
}

// TestEvidenceNamesTheContainer: two containers with the same nonce get evidence that names each, and everything a verifier needs is beside it.
func TestEvidenceNamesTheContainer(t *testing.T) {
	log := newLog()
	b := newBroker(&fakeDevice{certs: table(t)}, withPolicy(log))
	t.Cleanup(b.Close)
	seen := map[[64]byte]bool{}
	for i, key := range []string{"first", "second"} {
		bundle, report, preimage, events := listenAs(t, b, named(key, uint32(i+1))).evidence(testNonce)
		if report.ReportData != sha512.Sum512(bundle.Preimage) {
			t.Errorf("%s: REPORT_DATA is not the preimage's SHA-512", key)
		}
		want := &identity.Preimage{
			PolicyDigest: testPolicy.Digest, Entries: []identity.Entry{{Index: 0}, {Index: uint32(i + 1)}}, Layers: [][32]byte{{2}, {1}},
			Args: identity.ArgsDigest([]string{"/bin/" + key}), EventHead: log.Head(), Nonce: testNonce,
			Claimed: identity.Claimed{ID: key, Names: []string{"name of " + key}, Image: "image"},
		}
		if diff := cmp.Diff(preimage, want); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
		if err := events.Verify(); err != nil || events.Head != preimage.EventHead {
			t.Errorf("%s: the excerpt does not end in the head that is bound: %v", key, err)
		}
		if string(bundle.Policy) != "package policy" || bundle.Carrier != snp.CarrierPolicy || !bytes.Equal(bundle.Certs, table(t)) ||
			string(bundle.UVMEndorsement) != "cose" {
			t.Errorf("%s: got carrier %q, policy %q, endorsement %q, %d bytes of certificates", key, bundle.Carrier, bundle.Policy, bundle.UVMEndorsement, len(bundle.Certs))
		}
		seen[report.ReportData] = true
	}
	if len(seen) != 2 {
		t.Error("both containers got the same REPORT_DATA")
	}
}

// TestDocumentIsTheBundle: what is put together by hand is what the bundle's own encoder writes.
func TestDocumentIsTheBundle(t *testing.T) {
	log := newLog()
	b := newBroker(&fakeDevice{certs: table(t)}, withPolicy(log))
	t.Cleanup(b.Close)
	for name, policy := range map[string]*Policy{
		"policy":   testPolicy,
		"initdata": {Text: []byte("text <&>"), Carrier: snp.CarrierInitdata, Initdata: []byte("document\n")},
		"large":    {Text: make([]byte, maxBundlePolicy), Carrier: snp.CarrierInitdata, Initdata: []byte("document")},
		"none":     nil,
	} {
		b.opt.Policy = func() *Policy { return policy }
		ev := snp.Evidence{Report: reportOf(3, [64]byte{1}), Certs: table(t)}
		head, events := b.pieces.ofEvents(log)
		got, err := snp.ParseBundle(b.bundle(ev, []byte("preimage"), events).bytes())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := snp.NewBundle(ev)
		want.Preimage, want.EventLog, want.UVMEndorsement = []byte("preimage"), log.Excerpt().Encode(), []byte("cose")
		if policy != nil {
			want.Carrier = policy.Carrier
			if name != "large" {
				want.Policy, want.Initdata = policy.Text, policy.Initdata
			}
		}
		if diff := cmp.Diff(got, want); diff != "" || head != log.Head() {
			t.Errorf("%s: %s", name, diff)
		}
	}
	b.opt.Policy, b.opt.UVMEndorsement = func() *Policy { return nil }, func() []byte { return nil }
	got, err := snp.ParseBundle(b.bundle(snp.Evidence{Report: reportOf(2, [64]byte{})}, nil).bytes())
	if err != nil || len(got.Certs) != 0 || got.Preimage != nil || got.UVMEndorsement != nil || got.EventLog != nil {
		t.Errorf("a report alone: got %+v, %v", got, err)
	}
}

// TestEvidenceFollowsTheState: entries that were narrowed and events that were appended are in the next evidence over the same nonce.
func TestEvidenceFollowsTheState(t *testing.T) {
	log := newLog()
	d := &fakeDevice{}
	b := newBroker(d, withPolicy(log))
	t.Cleanup(b.Close)
	var narrowed atomic.Bool
	id := named("c1", 5)
	id.Entries = func() ([]identity.Entry, error) {
		if narrowed.Load() {
			return []identity.Entry{{Index: 5}}, nil
		}
		return []identity.Entry{{Index: 4}, {Index: 5}}, nil
	}
	c := listenAs(t, b, id)
	_, first, before, _ := c.evidence(testNonce)
	log.Append(eventlog.Entry{Kind: eventlog.KindDecision, Point: "exec_in_container", Verdict: eventlog.Refused})
	_, second, after, events := c.evidence(testNonce)
	if before.EventHead == after.EventHead || first.ReportData == second.ReportData {
		t.Error("a refused exec left the evidence as it was")
	}
	if entries, err := events.Replay(); err != nil || len(entries) != 2 || entries[1].Verdict != eventlog.Refused {
		t.Errorf("got events %v, %v, want the refusal", entries, err)
	}
	narrowed.Store(true)
	if _, _, p, _ := c.evidence(testNonce); len(p.Entries) != 1 || p.Entries[0].Index != 5 {
		t.Errorf("got entries %v, want the one that is left", p.Entries)
	}
	if d.calls() != 3 {
		t.Errorf("got %d device calls, want 3", d.calls())
	}
}

// TestHeadAndExcerptAgree: however fast the log grows, what is bound is the head of what is shown.
func TestHeadAndExcerptAgree(t *testing.T) {
	log := newLog()
	b := newBroker(&fakeDevice{}, withPolicy(log))
	b.opt.Rate, b.opt.Burst = 1e6, 1e6
	t.Cleanup(b.Close)
	c := listenAs(t, b, named("c1", 1))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				log.Append(eventlog.Entry{Kind: eventlog.KindSignalSent})
			}
		}
	})
	for range 20 {
		_, _, p, events := c.evidence(testNonce)
		if err := events.Verify(); err != nil || events.Head != p.EventHead {
			t.Errorf("head %x, excerpt up to %x, %v", p.EventHead, events.Head, err)
		}
	}
	close(done)
	wg.Wait()
}

func TestEvidenceFails(t *testing.T) {
	b := newBroker(&fakeDevice{}, withPolicy(newLog()))
	t.Cleanup(b.Close)
	id := named("c1", 1)
	id.Entries = func() ([]identity.Entry, error) { return nil, errors.New("no such container") }
	listenAs(t, b, id).refused("POST", "/v1/evidence", nonceBody(testNonce), http.StatusForbidden, "no such container")
	id = named("c2", 1)
	id.Claimed.Image = "\xff"
	listenAs(t, b, id).refused("POST", "/v1/evidence", nonceBody(testNonce), http.StatusForbidden, "UTF-8")
	for _, id := range []Identity{{}, {Key: "k"}, {Key: "k", Cgroup: "cloister/k"}} {
		if _, _, err := b.Listen(t.Context(), id, t.TempDir()); err == nil {
			t.Errorf("%+v: accepted", id)
		}
	}
}

// TestIdentityIsOutOfRawReach: a container that knows another's preimage, and so the 64 bytes that would name it, gets no report over them by any call.
func TestIdentityIsOutOfRawReach(t *testing.T) {
	d := &fakeDevice{certs: table(t)}
	b := newBroker(d, withPolicy(newLog()))
	b.opt.Burst = 1000
	t.Cleanup(b.Close)
	victim, attacker := listenAs(t, b, named("victim", 1)), listenAs(t, b, named("attacker", 2))
	bundle, report, _, _ := victim.evidence(testNonce)
	digest := report.ReportData
	d.mu.Lock()
	d.asked = nil
	d.mu.Unlock()
	raw64 := base64.RawURLEncoding.EncodeToString
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/attest/raw", azureBody(digest[:])},
		{"POST", "/attest/raw", azureBody(bundle.Preimage)},
		{"POST", "/attest/combined", azureBody(digest[:])},
		{"POST", "/attest/combined", azureBody(bundle.Preimage)},
		{"POST", "/attest/bundle", nonceBody(digest[:])},
		{"POST", "/attest/bundle", nonceBody(testNonce)},
		{"POST", "/v1/evidence", nonceBody(digest[:])},
		{"POST", "/v1/evidence", nonceBody(testNonce)},
		{"GET", "/aa/evidence?encoding=base64&runtime_data=" + raw64(digest[:]), ""},
		{"GET", "/aa/evidence?encoding=base64&runtime_data=" + raw64(digest[:48]), ""},
		{"GET", "/aa/evidence?encoding=base64&runtime_data=" + raw64(digest[16:]), ""},
		{"GET", "/aa/evidence?encoding=base64&runtime_data=" + raw64(bundle.Preimage[:48]), ""},
	} {
		attacker.do(r.method, r.path, r.body)
	}
	if _, err := b.HostBundle(t.Context(), digest[:]); err != nil {
		t.Error(err)
	}
	if d.calls() < 10 {
		t.Fatalf("got %d device calls, want most of the requests to reach it", d.calls())
	}
	for _, asked := range d.asked {
		if asked == digest {
			t.Errorf("the device was asked for the victim's digest")
		}
	}
}

func TestHostBundleHasItsOwnDomain(t *testing.T) {
	d := &fakeDevice{}
	b := newBroker(d, withPolicy(newLog()))
	doc, err := b.HostBundle(t.Context(), testNonce)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := snp.ParseBundle(doc)
	if err != nil || bundle.Preimage != nil {
		t.Fatalf("got %v, a preimage of %d bytes", err, len(bundle.Preimage))
	}
	if d.asked[0] != snp.HostReportData(testNonce) || d.asked[0] == snp.HashedReportData(testNonce) {
		t.Errorf("got REPORT_DATA %x", d.asked[0])
	}
	if _, err := b.HostBundle(t.Context(), testNonce[:15]); err == nil {
		t.Error("a short nonce was taken")
	}
}

// TestStormOfEqualRequests: a thousand requests of one container for the same evidence, over as many connections as it likes, cost the device one call.
func TestStormOfEqualRequests(t *testing.T) {
	d := &fakeDevice{certs: table(t)}
	b := newBroker(d, withPolicy(newLog()))
	t.Cleanup(b.Close)
	b.now = func() time.Time { return time.Unix(1000, 0) } // however slow this machine is
	c := listenAs(t, b, named("c1", 1))
	var wg sync.WaitGroup
	answers := make(chan string, 1000)
	for range 100 {
		wg.Go(func() {
			for range 10 {
				status, out := c.do("POST", "/v1/evidence", nonceBody(testNonce))
				if status != http.StatusOK {
					t.Errorf("got status %d: %s", status, out)
				}
				answers <- string(out)
			}
		})
	}
	wg.Wait()
	close(answers)
	first := <-answers
	for a := range answers {
		if a != first {
			t.Fatal("equal requests got different answers")
		}
	}
	if d.calls() != 1 {
		t.Errorf("got %d device calls, want 1", d.calls())
	}
}

// TestCombinedAsksOnceMore: after a firmware update the host may be late with the certificates; the second table fits.
func TestCombinedAsksOnceMore(t *testing.T) {
	other := tcb
	other.SNP--
	stale, err := makeTable(other)
	if err != nil {
		t.Fatal(err)
	}
	d := &fakeDevice{certs: stale}
	d.then = func() { d.certs = table(t) }
	_, c := open(t, d, Options{})
	var answer map[string]string
	c.ok("POST", "/attest/combined", azureBody([]byte("key")), &answer)
	if answer["endorsed_tcb"] != "541700000000010a" || d.calls() != 2 {
		t.Errorf("got %q after %d calls, want the right version after 2", answer["endorsed_tcb"], d.calls())
	}
}

func TestHostCertificates(t *testing.T) {
	text, err := HostCertificates(snp.Evidence{Report: reportOf(3, [64]byte{}), Certs: table(t)})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(text, &got); err != nil || len(got) != 4 {
		t.Fatalf("got %s, %v", text, err)
	}
	const begin = "-----BEGIN CERTIFICATE-----"
	if got["tcbm"] != "541700000000010A" || got["cacheControl"] != "86400" || bytes.Count([]byte(got["vcekCert"]), []byte(begin)) != 1 ||
		bytes.Count([]byte(got["certificateChain"]), []byte(begin)) != 2 {
		t.Errorf("got %s", text)
	}
	if _, err := hex.DecodeString(got["tcbm"]); err != nil {
		t.Error(err)
	}
	if _, err := HostCertificates(snp.Evidence{Report: reportOf(3, [64]byte{})}); err == nil {
		t.Error("without certificates: got no error")
	}
}

func TestStatusAndInfo(t *testing.T) {
	d := &fakeDevice{}
	_, c := open(t, d, Options{Version: "1.2.3"})
	var status struct{ Message string }
	c.ok("GET", "/status", "", &status)
	var info infoAnswer
	c.ok("GET", "/info", "", &info)
	if want := (infoAnswer{"1.2.3", "snp", []string{"attestation"}}); status.Message != "Status OK" || !cmp.Equal(info, want) || d.calls() != 0 {
		t.Errorf("got %+v, %+v and %d device calls", status, info, d.calls())
	}
}
