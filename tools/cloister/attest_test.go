package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/measure"
)

// attestKeys are made once for all tests: RSA-4096 keys take seconds.
var attestKeys = sync.OnceValues(func() (*emulator.Authority, error) {
	return emulator.LoadOrInit(filepath.Join(attestKeysDir, "emulator"))
})

var attestKeysDir string

// attestBench is a directory with everything a relying party has.
type attestBench struct {
	t                             *testing.T
	dir, roots, policy, img, good string
	keys                          *emulator.Authority
}

const testNonce = "00112233445566778899aabbccddeeff"

func newAttestBench(t *testing.T) *attestBench {
	t.Helper()
	keys, err := attestKeys()
	if err != nil {
		t.Fatal(err)
	}
	b := &attestBench{t: t, dir: t.TempDir(), keys: keys, roots: keys.RootsDir()}
	b.policy = b.file("policy.rego", "package policy\n")
	b.img = filepath.Join(b.dir, "guest")
	kernel, initrd, cmdline := []byte("kernel"), []byte("initrd"), "console=ttyS0"
	hash := func(p []byte) guest.Digest {
		sum := sha256.Sum256(p)
		return guest.Digest{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(p))}
	}
	m, err := json.Marshal(guest.Measurements{Version: 1, Kind: "development", Kernel: hash(kernel), Initrd: hash(initrd), Cmdline: hash([]byte(cmdline + "\x00"))})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.img, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{guest.FileMeasurements: string(m), guest.FileKernel: "kernel", guest.FileInitrd: "initrd", guest.FileCmdline: cmdline} {
		b.file(filepath.Join("guest", name), text)
	}
	b.good = b.bundle("good.json", sha256.Sum256([]byte("package policy\n")), func(*snp.Bundle) {})
	return b
}

func (b *attestBench) file(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// edited is the good bundle with something changed.
func (b *attestBench) edited(name string, edit func(*snp.Bundle)) string {
	return b.bundle(name, sha256.Sum256([]byte("package policy\n")), edit)
}

// serial is the number of the endorsement key's certificate in the good bundle.
func (b *attestBench) serial() *big.Int {
	b.t.Helper()
	raw, err := os.ReadFile(b.good)
	if err != nil {
		b.t.Fatal(err)
	}
	bundle, err := snp.ParseBundle(raw)
	if err != nil {
		b.t.Fatal(err)
	}
	certs, err := snp.ParseCerts(bundle.Certs)
	if err != nil {
		b.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(certs[0].Data)
	if err != nil {
		b.t.Fatal(err)
	}
	return cert.SerialNumber
}

// list writes a revocation list of the test root, with one certificate in it or none.
func (b *attestBench) list(serial *big.Int) string {
	b.t.Helper()
	read := func(path string) []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			b.t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	cert, err := x509.ParseCertificate(read(filepath.Join(b.roots, "ark.pem")))
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(read(filepath.Join(b.keys.Dir(), "ark.key.pem")))
	if err != nil {
		b.t.Fatal(err)
	}
	now := time.Now()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(1, 0, 0), SignatureAlgorithm: x509.SHA384WithRSAPSS}
	name := "ark.crl"
	if serial != nil {
		name = "revoked.crl"
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: serial, RevocationTime: now}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, cert, key.(crypto.Signer))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.file(name, string(der))
}

// bundle writes evidence over the nonce by the default rule.
func (b *attestBench) bundle(name string, hostData [32]byte, edit func(*snp.Bundle)) string {
	b.t.Helper()
	nonce, err := hex.DecodeString(testNonce)
	if err != nil {
		b.t.Fatal(err)
	}
	data, err := reportDataSHA256.of(nonce)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.over(name, data, hostData, edit)
}

// raw is evidence over bytes as they are.
func (b *attestBench) raw(name, text string) string {
	var data [64]byte
	copy(data[:], text)
	return b.over(name, data, sha256.Sum256([]byte("package policy\n")), func(*snp.Bundle) {})
}

func (b *attestBench) over(name string, data [64]byte, hostData [32]byte, edit func(*snp.Bundle)) string {
	b.t.Helper()
	p, err := b.keys.Params(emulator.DefaultIdentity())
	if err != nil {
		b.t.Fatal(err)
	}
	p.HostData, p.Measurement = hostData, measure.Emulated([]byte("kernel"), []byte("initrd"), "console=ttyS0")
	proc, err := emulator.NewProcessor(p)
	if err != nil {
		b.t.Fatal(err)
	}
	ev, err := proc.Device().Report(context.Background(), data)
	if err != nil {
		b.t.Fatal(err)
	}
	bundle := snp.NewBundle(ev)
	edit(bundle)
	out, err := bundle.Marshal()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.file(name, string(out))
}

func TestAttestVerifyExitCodes(t *testing.T) {
	b := newAttestBench(t)
	base := func(bundle string, more ...string) []string {
		return append([]string{"attest", "verify", bundle, "--policy", b.policy, "--nonce", testNonce, "--roots", b.roots, "--guest", b.img}, more...)
	}
	without := func(args []string, flag string) []string {
		for i, a := range args {
			if a == flag {
				return append(args[:i:i], args[i+2:]...)
			}
		}
		t.Fatalf("no flag %s", flag)
		return nil
	}
	digest := measure.Digest(measure.Emulated([]byte("kernel"), []byte("initrd"), "console=ttyS0")).String()
	hostData := fmt.Sprintf("%x", sha256.Sum256([]byte("package policy\n")))
	nonce, err := hex.DecodeString(testNonce)
	if err != nil {
		t.Fatal(err)
	}
	reportData := fmt.Sprintf("%x", snp.HashedReportData(nonce))
	otherRoots := filepath.Join(b.dir, "roots")
	if err := os.Mkdir(otherRoots, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"good", base(b.good), 0},
		{"good as json", base(b.good, "--json"), 0},
		{"measurement by digest", append(without(base(b.good), "--guest"), "--measurement", digest), 0},
		{"any measurement", append(without(base(b.good), "--guest"), "--measurement", "any"), 0},
		{"second of two measurements", base(b.good, "--measurement", strings.Repeat("ab", 48), "--measurement", digest), 0},
		{"host data by digest", append(without(base(b.good), "--policy"), "--host-data", hostData), 0},
		{"report data by value", append(without(base(b.good), "--nonce"), "--report-data", reportData), 0},
		{"as flag", append([]string{"attest", "verify", "--report", b.good}, base("")[3:]...), 0},
		{"nothing asked", []string{"attest", "verify", b.good, "--roots", b.roots}, 0},
		{"list of its root", base(b.good, "--crl", b.list(nil), "--require-crl"), 0},

		{"two files", base(b.good, "--report", b.good), 1},
		{"no file", []string{"attest", "verify"}, 1},
		{"two arguments", base(b.good, b.good), 1},
		{"unknown flag", base(b.good, "--force"), 1},
		{"flag without value", base(b.good, "--vmpl"), 1},
		{"short nonce", append(without(base(b.good), "--nonce"), "--nonce", "00"), 1},
		{"nonce is no hex", append(without(base(b.good), "--nonce"), "--nonce", "xyz"), 1},
		{"rule without a nonce", append(without(base(b.good), "--nonce"), "--report-data", "host"), 1},
		{"default rule without a nonce", append(without(base(b.good), "--nonce"), "--report-data", "sha256"), 1},
		{"runtime data as a host's nonce", append(without(base(b.good), "--nonce"), "--runtime-data", b.policy, "--report-data", "host"), 1},
		{"raw runtime data too long", append(without(base(b.good), "--nonce"), "--runtime-data", b.file("49", strings.Repeat("x", 49)), "--report-data", "raw"), 1},
		{"raw runtime data", append(without(base(b.raw("raw.json", "a CoCo nonce")), "--nonce"), "--runtime-data", b.file("12", "a CoCo nonce"), "--report-data", "raw"), 0},
		{"other raw runtime data", append(without(base(b.good), "--nonce"), "--runtime-data", b.file("12b", "a CoCo nonce"), "--report-data", "raw"), 5},
		{"nonce and runtime data", base(b.good, "--runtime-data", b.policy), 1},
		{"policy and initdata", base(b.good, "--initdata", b.policy), 1},
		{"policy and host data", base(b.good, "--host-data", hostData), 1},
		{"host data is no digest", append(without(base(b.good), "--policy"), "--host-data", "ab"), 1},
		{"measurement is no digest", base(b.good, "--measurement", "ab"), 1},
		{"unknown rule", base(b.good, "--report-data", "md5"), 1},
		{"level 4", base(b.good, "--vmpl", "4"), 1},
		{"tcb is no tcb", base(b.good, "--min-tcb", "1,2"), 1},
		{"tcb out of range", base(b.good, "--min-tcb", "1,2,3,256"), 1},
		{"firmware is no version", base(b.good, "--min-firmware", "1.55"), 1},
		{"unknown product", base(b.good, "--product", "Naples"), 1},
		{"any measurement and an image", base(b.good, "--measurement", "any"), 1},
		{"unknown signer", base(b.good, "--signer", "ark"), 1},
		{"unknown promise", base(b.good, "--guest-policy", "debug"), 1},
		{"unknown platform", base(b.good, "--platform", "sme"), 1},
		{"unknown identity", base(b.good, "--identity", "process"), 1},
		{"unknown time", base(b.good, "--now", "yesterday"), 1},
		{"entry without a policy", append(without(base(b.good), "--policy"), "--entry", "web"), 1},
		{"endorsement of anybody", base(b.good, "--endorsement", b.policy), 1},
		{"issuer without feed", base(b.good, "--endorsement-issuer", "did:x509:0:x"), 1},
		{"file missing", base(filepath.Join(b.dir, "missing.json")), 1},
		{"policy missing", append(without(base(b.good), "--policy"), "--policy", filepath.Join(b.dir, "missing")), 1},
		{"roots missing", append(without(base(b.good), "--roots"), "--roots", filepath.Join(b.dir, "missing")), 1},
		{"roots empty", append(without(base(b.good), "--roots"), "--roots", otherRoots), 1},
		{"guest image absent", append(without(base(b.good), "--guest"), "--guest", filepath.Join(b.dir, "absent")), 1},
		{"certificates missing", base(b.good, "--certs", filepath.Join(b.dir, "missing")), 1},
		{"certificates are none", base(b.good, "--certs", b.policy), 1},
		{"list is none", base(b.good, "--crl", b.policy), 1},
		{"standard input twice", base("-", "--certs", "-"), 1},

		{"no bundle", base(b.file("text.json", "hello")), 2},
		{"bundle of another version", base(b.file("v2.json", `{"version":2,"type":"sev-snp"}`)), 2},
		{"bundle with an unknown member", base(b.file("x.json", `{"version":1,"type":"sev-snp","x":1}`)), 2},
		{"AMD's roots", without(base(b.good), "--roots"), 2},
		{"signature broken", base(b.edited("flip.json", func(x *snp.Bundle) { x.Report[0x90] ^= 1 })), 2},
		{"expired", base(b.good, "--now", "2099-01-01"), 2},
		{"signature broken and other level", base(b.edited("flip2.json", func(x *snp.Bundle) { x.Report[0x90] ^= 1 }), "--vmpl", "1"), 2},

		{"no certificates", base(b.edited("bare.json", func(x *snp.Bundle) { x.Certs = nil })), 3},
		{"no endorsement", base(b.good, "--endorsement-issuer", "did:x509:0:x", "--feed", "f"), 3},
		{"no preimage", base(b.good, "--identity", "pod"), 3},
		{"no certificates and other level", base(b.edited("bare2.json", func(x *snp.Bundle) { x.Certs = nil }), "--vmpl", "1"), 3},

		{"no list", base(b.good, "--require-crl"), 4},
		{"revoked", base(b.good, "--crl", b.list(b.serial())), 4},
		{"list expired", base(b.good, "--crl", b.list(nil), "--now", time.Now().AddDate(2, 0, 0).Format(time.DateOnly)), 4},
		{"revoked and other level", base(b.good, "--crl", b.list(b.serial()), "--vmpl", "1"), 4},

		{"other nonce", append(without(base(b.good), "--nonce"), "--nonce", strings.Repeat("ff", 16)), 5},
		{"other rule", base(b.good, "--report-data", "raw"), 5},
		{"other report data", append(without(base(b.good), "--nonce"), "--report-data", strings.Repeat("0", 128)), 5},
		{"other runtime data", append(without(base(b.good), "--nonce"), "--runtime-data", b.policy), 5},
		{"other measurement", append(without(base(b.good), "--guest"), "--measurement", strings.Repeat("ab", 48)), 5},
		{"other policy", append(without(base(b.good), "--policy"), "--policy", b.file("other.rego", "package other\n")), 5},
		{"newer firmware wanted", base(b.good, "--min-tcb", "11,0,0,0"), 5},
		{"newer firmware at launch wanted", base(b.good, "--min-launch-tcb", "0,0,0,85"), 5},
		{"newer firmware version wanted", base(b.good, "--min-firmware", "2.0.0"), 5},
		{"newer guest wanted", base(b.good, "--min-guest-svn", "1"), 5},
		{"newer report wanted", base(b.good, "--min-version", "5"), 5},
		{"mitigation wanted", base(b.good, "--launch-mitigation", "1"), 5},
		{"no smt wanted", base(b.good, "--no-smt"), 5},
		{"single socket wanted", base(b.good, "--guest-policy", "single-socket"), 5},
		{"newer abi wanted", base(b.good, "--guest-policy", "abi=1.55"), 5},
		{"platform without smt wanted", base(b.good, "--platform", "no-smt,ecc"), 5},
		{"other level", base(b.good, "--vmpl", "1"), 5},
		{"other chip", base(b.good, "--chip-id", strings.Repeat("0", 127)+"1"), 5},
		{"other product", base(b.good, "--product", "Milan", "--product", "Turin"), 5},
		{"vlek wanted", base(b.good, "--signer", "vlek"), 5},
		{"cloud wanted", base(b.good, "--csp", "AWS"), 5},
		{"other family", base(b.good, "--family-id", strings.Repeat("1", 32)), 5},
		{"other image", base(b.good, "--image-id", strings.Repeat("1", 32)), 5},
		{"other report id", base(b.good, "--report-id", strings.Repeat("1", 64)), 5},
		{"other report id of an agent", base(b.good, "--report-id-ma", strings.Repeat("1", 64)), 5},
		{"id key wanted", base(b.good, "--id-key", strings.Repeat("1", 96)), 5},
		{"author key wanted", base(b.good, "--author-key", strings.Repeat("1", 96)), 5},
		{"id block wanted", base(b.good, "--require-id-block"), 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(context.Background(), c.args); got != c.want {
				t.Errorf("exit code: got %d, want %d\n%q", got, c.want, c.args)
			}
		})
	}
}

func TestAttestVerifyInitdata(t *testing.T) {
	b := newAttestBench(t)
	document := func(data map[string]string) *initdata.Document {
		t.Helper()
		d, err := initdata.Build("sha384", data)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	policy := map[string]string{initdata.PolicyKey: "package policy\n"}
	plain := document(policy)
	more := document(map[string]string{initdata.PolicyKey: "package policy\n", "layers.json": "[]"})
	other := document(map[string]string{initdata.PolicyKey: "package evil\n"})
	carry := func(name string, launched, sent *initdata.Document) string {
		return b.bundle(name, launched.HostData(), func(x *snp.Bundle) {
			x.Carrier = snp.CarrierInitdata
			if sent != nil {
				x.Initdata = sent.Raw
			}
		})
	}
	approved := b.file("initdata.toml", string(more.Raw))
	withPolicy := func(name, text string) string {
		return b.edited(name, func(x *snp.Bundle) { x.Carrier, x.Policy = snp.CarrierPolicy, []byte(text) })
	}
	for _, c := range []struct {
		name, bundle string
		by           []string
		want         int
	}{
		{"policy alone", carry("1.json", plain, plain), []string{"--policy", b.policy}, 0},
		{"more than the policy", carry("2.json", more, more), []string{"--policy", b.policy}, 5},
		{"more, and approved whole", carry("3.json", more, nil), []string{"--initdata", approved}, 0},
		{"another document launched", carry("4.json", other, plain), []string{"--policy", b.policy}, 5},
		{"another policy", carry("5.json", other, other), []string{"--policy", b.policy}, 5},
		{"no document", carry("6.json", plain, nil), []string{"--policy", b.policy}, 5},
		{"approved is not what was launched", carry("7.json", plain, plain), []string{"--initdata", approved}, 5},
		{"nothing approved", carry("9.json", plain, plain), nil, 0},
		{"nothing approved, another document sent", carry("10.json", plain, other), nil, 5},
		{"nothing approved, its own policy", withPolicy("11.json", "package policy\n"), nil, 0},
		{"nothing approved, another policy sent", withPolicy("12.json", "package evil\n"), nil, 5},
		{"another policy sent, approved given", withPolicy("13.json", "package evil\n"), []string{"--policy", b.policy}, 0},
		{"approved is no document", carry("8.json", plain, plain), []string{"--initdata", b.policy}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"attest", "verify", c.bundle, "--nonce", testNonce, "--roots", b.roots, "--guest", b.img}, c.by...)
			if got := run(context.Background(), args); got != c.want {
				t.Errorf("exit code: got %d, want %d", got, c.want)
			}
		})
	}
}

func TestAttestVerifyOutput(t *testing.T) {
	b := newAttestBench(t)
	args := []string{"attest", "verify", "-", "--policy", b.policy, "--nonce", testNonce, "--roots", b.roots, "--guest", b.img}
	exec := func(more ...string) (string, error) {
		t.Helper()
		bundle, err := os.ReadFile(b.good)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(append(args, more...))
		root.SetIn(bytes.NewReader(bundle))
		root.SetOut(&out)
		err = root.Execute()
		return out.String(), err
	}
	text, err := exec()
	if err != nil || !strings.Contains(text, "accepted (software SNP processor, TEST ONLY") || !strings.Contains(text, "host_data") {
		t.Errorf("got %v and\n%s", err, text)
	}
	text, err = exec("--vmpl", "1")
	if err == nil || !strings.Contains(text, "REFUSED") || !strings.Contains(text, "FAIL  vmpl") {
		t.Errorf("got %v and\n%s", err, text)
	}
	text, err = exec("--json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		OK       bool `json:"ok"`
		TestOnly bool `json:"test_only"`
		Checks   []struct{ Name, Got, Want, Status string }
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	if !v.OK || !v.TestOnly || len(v.Checks) < 15 {
		t.Errorf("got %+v", v)
	}
}

func TestAbridgeKeepsDifferencesVisible(t *testing.T) {
	a, b := strings.Repeat("0", 64), strings.Repeat("0", 30)+"1"+strings.Repeat("0", 33)
	if g, w := abridge(a, b); g == w {
		t.Errorf("two values print alike: %s", g)
	}
	if g, _ := abridge(a, a); len(g) >= len(a) {
		t.Errorf("equal values are not shortened: %s", g)
	}
	if g, _ := abridge("\x1b[2J", ""); strings.Contains(g, "\x1b") {
		t.Errorf("a control character gets through: %q", g)
	}
}

// Lists are shortened once and counted right; sentences are left alone.
func TestShortenListsAndSentences(t *testing.T) {
	var digests []string
	for i := range 65 {
		digests = append(digests, fmt.Sprintf("%096x", i))
	}
	got := shorten(strings.Join(digests, alternatives))
	if parts := strings.Split(got, alternatives); len(parts) != 4 || parts[3] != "62 more" {
		t.Errorf("got %q, want three of 65 digests and 62 more", got)
	}
	if got := shorten(strings.Join(append(digests, "40 more"), alternatives)); !strings.HasSuffix(got, " or 102 more") {
		t.Errorf("got %q, want three of 105 digests and 102 more", got)
	}
	for _, s := range []string{
		"a report of 1184 bytes (binary, hex or base64), or a bundle or a table or another or more", "an /attest/combined or /attest/raw answer", "PS384 or ES384, certificates valid",
	} {
		if got := shorten(s); got != s {
			t.Errorf("got %q, want the sentence as it is: %q", got, s)
		}
	}
}

func TestAttestReportExitCodes(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"no device", []string{"--nonce", testNonce, "--device", "/nonexistent", "--tsm", "/nonexistent"}, 1},
		{"no nonce", nil, 2},
		{"agent at no path", []string{"--nonce", testNonce, "--agent", "tcp://x"}, 2},
		{"agent and raw", []string{"--nonce", testNonce, "--agent", "unix:///x", "--report-data", "raw"}, 2},
		{"pod that does not run", []string{"--nonce", testNonce, "--pod", "no-such-pod-runs-here"}, 1},
		{"pod of no name", []string{"--nonce", testNonce, "--pod", "../x"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(context.Background(), append([]string{"attest", "report"}, c.args...)); got != c.want {
				t.Errorf("exit code: got %d, want %d", got, c.want)
			}
		})
	}
}

func TestMeasureAgreesWithMeasurements(t *testing.T) {
	b := newAttestBench(t)
	h, err := imageHashes(b.img)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"measure", "--guest", b.img})
	root.SetOut(&out)
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != h.Emulated().String() {
		t.Errorf("got %s from the files, want %s as in measurements.json", got, h.Emulated())
	}
}

func TestDevTEE(t *testing.T) {
	b := newAttestBench(t)
	disk := filepath.Join(b.dir, "tee.img")
	if code := run(context.Background(), []string{"dev", "tee", "init", "--dir", b.keys.Dir(), "--json"}); code != 0 {
		t.Errorf("init: got exit code %d, want 0", code)
	}
	if code := run(context.Background(), []string{"dev", "tee", "disk", "--dir", b.keys.Dir(), "-o", disk, "--host-data", strings.Repeat("ab", 32), "--measurement", strings.Repeat("cd", 48)}); code != 0 {
		t.Fatalf("disk: got exit code %d, want 0", code)
	}
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := emulator.ReadTEEDisk(f)
	if err != nil || p.HostData[0] != 0xab || p.Measurement[47] != 0xcd {
		t.Errorf("got %+v, %v", p.HostData, err)
	}
	if code := run(context.Background(), []string{"dev", "tee", "disk", "-o", disk, "--host-data", "ab", "--measurement", strings.Repeat("cd", 48)}); code != 2 {
		t.Errorf("short host data: got exit code %d, want 2", code)
	}
}

func TestMain(m *testing.M) {
	var err error
	if attestKeysDir, err = os.MkdirTemp("", "cloister-attest-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(attestKeysDir)
	os.Exit(code)
}
