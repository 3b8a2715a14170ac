package verify_test

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/coco"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
	"github.com/cloister-cc/cloister/snp/verify"
)

var updateEvidence = flag.Bool("update-evidence", false, "make the files of tests/vectors/evidence anew")

const evidenceDir = "../../tests/vectors/evidence"

// evidenceVectors is vectors.json: what the files of the directory are and what they have to come to.
type evidenceVectors struct {
	Now         time.Time        `json:"now"` // when everything in them is valid
	Nonce       string           `json:"nonce"`
	Issuer      string           `json:"endorsement_issuer"`
	Feed        string           `json:"endorsement_feed"`
	SVN         uint64           `json:"endorsement_svn"`
	RuntimeData string           `json:"runtime_data"`
	Files       []evidenceVector `json:"files"`
}

// evidenceVector is one file. Certificates, lists and so on are counted; the report is the same in all but the bundle's.
type evidenceVector struct {
	File   string        `json:"file"`
	Format verify.Format `json:"format"`
	Report string        `json:"report_sha256,omitempty"`
	Table  int           `json:"table_entries,omitempty"`
	Certs  int           `json:"certificates,omitempty"`
	CRLs   int           `json:"revocation_lists,omitempty"`
}

func loadVectors(t testing.TB) *evidenceVectors {
	t.Helper()
	var v evidenceVectors
	if err := json.Unmarshal(vectorFile(t, "vectors.json"), &v); err != nil {
		t.Fatal(err)
	}
	return &v
}

func vectorFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(evidenceDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readVector(t testing.TB, v evidenceVector) *verify.File {
	t.Helper()
	read := verify.ReadEvidence
	if v.Report == "" {
		read = verify.ReadCertificates
	}
	f, err := read(vectorFile(t, v.File))
	if err != nil {
		t.Fatalf("%s: %v", v.File, err)
	}
	return f
}

// TestEvidenceVectors reads every shape and verifies it, bare reports together with each kind of certificate file.
func TestEvidenceVectors(t *testing.T) {
	if *updateEvidence {
		makeVectors(t)
	}
	vectors := loadVectors(t)
	vr, err := verify.LoadRoots(filepath.Join(evidenceDir, "roots"))
	if err != nil {
		t.Fatal(err)
	}
	verifier := newVerifier(t, vr, verify.Options{})
	var certs []*verify.File
	for _, v := range vectors.Files {
		f := readVector(t, v)
		got := evidenceVector{File: v.File, Format: f.Format, Certs: len(f.Evidence.Certs), CRLs: len(f.Evidence.CRLs)}
		if table, err := snp.ParseCerts(f.Evidence.Table); err == nil {
			got.Table = len(table)
		}
		if f.Evidence.Report != nil {
			sum := sha256.Sum256(f.Evidence.Report)
			got.Report = hex.EncodeToString(sum[:])
		} else if f.Format != verify.FormatCRL {
			certs = append(certs, f)
		}
		if got != v {
			t.Errorf("%s: got %+v, want %+v", v.File, got, v)
		}
	}
	for _, v := range vectors.Files {
		f := readVector(t, v)
		if v.Report == "" {
			continue
		}
		with := []*verify.File{{}}
		if len(f.Evidence.Table)+len(f.Evidence.Certs) == 0 {
			with = certs
		}
		for _, c := range with {
			t.Run(fmt.Sprintf("%s+%s", f.Format, c.Format), func(t *testing.T) {
				ev := f.Evidence
				if err := ev.Merge(c.Evidence); err != nil {
					t.Fatal(err)
				}
				exp := verify.Expectations{Now: vectors.Now, GuestPolicy: &verify.PolicyLimit{SMT: true}}
				if ev.Endorsement != nil {
					exp.Endorsement = &verify.EndorsementPolicy{Issuers: []string{vectors.Issuer}, Feed: vectors.Feed, MinSVN: vectors.SVN}
				}
				exp.RequireIdentity = ev.Preimage != nil
				exp.RequireEventLog = exp.RequireIdentity
				if got := judge(t, verifier, ev, exp); !got.OK {
					t.Errorf("refused: %+v", got.Failed())
				}
			})
		}
	}
}

// makeVectors makes one report in every shape, and a bundle with everything a bundle can hold.
func makeVectors(t *testing.T) {
	if err := os.MkdirAll(filepath.Join(evidenceDir, "roots"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(evidenceDir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ark.pem", "ask.pem"} {
		b, err := os.ReadFile(filepath.Join(testAuthority(t).RootsDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Join("roots", name), b)
	}
	now := time.Now().UTC().Truncate(time.Hour)
	runtimeData := []byte(`{"keys":[]}`)
	policy := vectorFile(t, "policy.rego")
	s := newSample(t, emulator.DefaultIdentity(), func(p *emulator.TEEParams) { p.HostData = sha256.Sum256(policy) })
	key := snp.HashedReportData(runtimeData)
	ev := s.signed(func(b []byte) { copy(b[0x50:], key[:]) })
	chain := cosetest.NewChain(t, cosetest.ChainOptions{Key: cosetest.P384, EKUs: []string{"1.3.6.1.4.1.311.76.59.1.2"}, Edit: func(i int, c *x509.Certificate) {
		c.NotBefore, c.NotAfter = now.AddDate(0, 0, -1), now.AddDate(1, 0, 0)
	}})
	vectors := &evidenceVectors{
		Now: now, Issuer: chain.DID(t, "eku"), Feed: "ContainerPlat-AMD-UVM", SVN: 104, RuntimeData: string(runtimeData),
		Nonce: hex.EncodeToString(slices.Repeat([]byte{0xA5}, 32)),
	}
	uvm := vectorEndorsement(t, chain, vectors)
	write("endorsement.cose", uvm)
	shapes := evidenceShapes(t, ev, s, uvm, runtimeData)
	shapes["bundle.json"] = vectorBundle(t, s, uvm, policy)
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		write(name, shapes[name])
		vectors.Files = append(vectors.Files, describe(t, name, shapes[name]))
	}
	doc, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	write("vectors.json", append(doc, '\n'))
}

func describe(t *testing.T, name string, data []byte) evidenceVector {
	f, err := verify.ReadEvidence(data)
	if err != nil {
		if f, err = verify.ReadCertificates(data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	v := evidenceVector{File: name, Format: f.Format, Certs: len(f.Evidence.Certs), CRLs: len(f.Evidence.CRLs)}
	if f.Evidence.Report != nil {
		sum := sha256.Sum256(f.Evidence.Report)
		v.Report = hex.EncodeToString(sum[:])
	}
	if table, err := snp.ParseCerts(f.Evidence.Table); err == nil {
		v.Table = len(table)
	}
	return v
}

func vectorEndorsement(t *testing.T, chain cosetest.Chain, v *evidenceVectors) []byte {
	payload := fmt.Sprintf(`{"x-ms-sevsnpvm-guestsvn":"%d","x-ms-sevsnpvm-guestsvn-int":%d,"x-ms-sevsnpvm-launchmeasurement":"%x"}`, v.SVN, v.SVN, measurement)
	raw, err := cose.Sign([]byte(payload), cose.SignOptions{
		Signer: chain.Signer(), Chain: chain.Certs, Issuer: v.Issuer, Feed: v.Feed, ContentType: "application/json", TextLabels: true, Thumbprint: true,
		SigningTime: v.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func pemChain(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// evidenceShapes writes one report and its certificates in every shape but the bundle.
func evidenceShapes(t testing.TB, ev verify.Evidence, s *sample, uvm, runtimeData []byte) map[string][]byte {
	t.Helper()
	r, err := snp.ParseReport(ev.Report)
	if err != nil {
		t.Fatal(err)
	}
	byFields, err := coco.New(r, ev.Table)
	if err != nil {
		t.Fatal(err)
	}
	tcb := slices.Clone(r.ReportedTCB[:])
	slices.Reverse(tcb)
	chain := pemChain(s.params.Chain...)
	thim := marshal(t, map[string]string{
		"vcekCert": string(pemChain(s.params.Chain[0])), "tcbm": strings.ToUpper(hex.EncodeToString(tcb)),
		"certificateChain": string(pemChain(s.params.Chain[1:]...)), "cacheControl": "86400",
	})
	url := base64.URLEncoding.EncodeToString
	maaReport := marshal(t, map[string]string{
		"SnpReport": url(ev.Report), "VcekCertChain": url(chain),
		"Endorsements": url(marshal(t, map[string][]string{"Uvm": {url(uvm)}})),
	})
	return map[string][]byte{
		"combined.json": marshal(t, map[string]any{"evidence": ev.Report, "endorsements": chain, "uvm_endorsements": uvm, "endorsed_tcb": hex.EncodeToString(tcb)}),
		"raw.json":      marshal(t, map[string]string{"report": hex.EncodeToString(ev.Report)}),
		"maa.json": marshal(t, map[string]any{
			"report": url(maaReport), "runtimeData": map[string]string{"data": url(runtimeData), "dataType": "JSON"},
			"initTimeData": map[string]string{"data": "", "dataType": ""}, "nonce": uint64(1 << 63),
		}),
		"coco.json":        marshal(t, byFields),
		"report.bin":       ev.Report,
		"report.hex":       []byte(hex.EncodeToString(ev.Report[:592]) + "\n" + hex.EncodeToString(ev.Report[592:]) + "\n"),
		"report.b64":       []byte(base64.StdEncoding.EncodeToString(ev.Report) + "\n"),
		"report-table.bin": slices.Concat(ev.Report, ev.Table),
		"chain.pem":        chain,
		"vcek.der":         s.params.Chain[0],
		"table.bin":        ev.Table,
		"thim.json":        thim,
		"thim.b64":         []byte(base64.StdEncoding.EncodeToString(thim)),
		"ark.crl":          vectorCRL(t),
	}
}

func vectorCRL(t testing.TB) []byte {
	t.Helper()
	now := time.Now()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(1, 0, 0), SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}, issuerCert(t, "ark"), issuerKey(t, "ark"))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// vectorBundle is identity evidence of the policy's first container, with everything beside it.
func vectorBundle(t *testing.T, s *sample, uvm, policy []byte) []byte {
	digest := sha256.Sum256(policy)
	layer := func(b byte) [32]byte { return [32]byte(slices.Repeat([]byte{b}, 32)) }
	log := eventlog.New(eventlog.Entry{Version: "0.0.0-vector"}, eventlog.Limits{})
	log.Append(eventlog.Entry{Kind: eventlog.KindPolicy, Digest: digest[:]})
	p := &identity.Preimage{
		PolicyDigest: digest, Entries: []identity.Entry{{Index: 0}}, Layers: [][32]byte{layer(0xbb), layer(0xaa)}, Args: identity.ArgsDigest([]string{"/bin/web"}),
		EventHead: log.Head(), Nonce: slices.Repeat([]byte{0xA5}, 32), Claimed: identity.Claimed{ID: "web", Names: []string{"web"}, Image: "registry.example/web:1"},
	}
	encoded, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	data := identity.ReportData(encoded)
	ev := s.signed(func(b []byte) { copy(b[0x50:], data[:]) })
	b := snp.NewBundle(snp.Evidence{Report: ev.Report, Certs: ev.Table})
	b.Policy, b.Carrier, b.UVMEndorsement, b.CRLs = policy, snp.CarrierPolicy, uvm, [][]byte{vectorCRL(t)}
	b.Preimage, b.EventLog = encoded, log.Excerpt().Encode()
	out, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
