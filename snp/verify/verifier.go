package verify

import (
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/snp"
)

// Limits on what the host can make a verifier look at, before anything is parsed.
const (
	maxCerts    = 32
	maxCert     = 16 << 10
	maxCRLs     = 16
	maxCRL      = 1 << 20
	maxCertData = 256 << 10 // all certificates together
)

// maxEndorsements bounds what is kept of endorsements, which may be large and which anybody can sign.
const maxEndorsements = 16

// defaultCache is how many verified chains and revocation lists are kept when Options does not say.
const defaultCache = 256

// Options are a verifier's own settings.
type Options struct {
	// CacheSize bounds how many verified chains, and how many revocation lists, are remembered: 0 is 256. Of endorsements
	// it is 16 at most.
	CacheSize int
	// CRLs are revocation lists (DER) that the caller has, used for all evidence beside those that come with it. Those of other roots are passed over.
	CRLs [][]byte
}

// Verifier judges evidence. It is safe for concurrent use. It remembers chains, revocation lists and endorsements whose signatures it checked; periods of
// validity, revocation and everything that the report says are judged each time.
type Verifier struct {
	roots  *Roots
	crls   []*crl // the caller's
	chains *cache[*chains]
	seen   *cache[*crl]
	// endorsements are of anybody's keys: a host can push out others' by sending many, and gains nothing by it.
	endorsements *cache[*Endorsement]
}

// New makes a verifier that trusts roots, and nothing else; nil is AMDRoots.
func New(roots *Roots, opt Options) (*Verifier, error) {
	if roots == nil {
		roots = amdRoots()
	}
	if len(roots.anchors) == 0 {
		return nil, errors.New("verify: got no root certificate")
	}
	if opt.CacheSize == 0 {
		opt.CacheSize = defaultCache
	}
	if opt.CacheSize < 0 {
		return nil, fmt.Errorf("verify: got a cache of %d chains", opt.CacheSize)
	}
	crls, err := callersCRLs(opt.CRLs, roots)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		roots: roots.clone(), crls: crls,
		chains: newCache[*chains](opt.CacheSize), seen: newCache[*crl](opt.CacheSize), endorsements: newCache[*Endorsement](min(opt.CacheSize, maxEndorsements)),
	}, nil
}

// Evidence is what a relying party got. All of it is the host's word until the verdict says otherwise.
type Evidence struct {
	Report []byte   // 1184 bytes
	Table  []byte   // the host's certificate table, may be nil
	Certs  [][]byte // further certificates, DER: endorsement key, intermediates, root
	CRLs   [][]byte // revocation lists, DER
	// Endorsement is a COSE_Sign1 statement about the measurement.
	Endorsement []byte
	// Preimage is what REPORT_DATA of identity evidence is the SHA-512 of, EventLog the log whose head it holds, Policy what HOST_DATA is the hash of.
	Preimage, EventLog, Policy []byte
}

// Verify judges evidence. An error means that the caller's own part is unusable; whatever is wrong with the evidence is in the verdict.
func (v *Verifier) Verify(ev Evidence, exp Expectations) (*Verdict, error) {
	if err := exp.check(); err != nil {
		return nil, err
	}
	j := newJudge()
	r, err := snp.DecodeReport(ev.Report)
	if err != nil {
		j.set(checkReport, false, wantReport, err.Error())
		return j.close(), nil
	}
	j.set(checkReport, true, wantReport, versionText(r.Version))
	j.form(r)
	if l := v.link(j, r, &ev, &exp); l != nil {
		j.signature(r, l)
		j.endorsed(r, l, &exp)
	} else {
		j.unlinked(&exp)
	}
	j.policy(r, &exp)
	j.platform(r, &exp)
	j.expected(r, &exp)
	j.versions(r, &exp)
	v.statement(j, r, &ev, &exp)
	j.identity(r, &ev, &exp)
	return j.close(), nil
}

const wantReport = "a report of version 2 to 5"

// versionText avoids formatting: every verdict has it.
func versionText(version uint32) string {
	return [...]string{2: "version 2", 3: "version 3", 4: "version 4", 5: "version 5"}[version]
}

// form judges what does not need a certificate.
func (j judge) form(r *snp.Report) {
	const want = "zero"
	if err := r.CheckReserved(); err != nil {
		j.set(checkReserved, false, want, err.Error())
	} else {
		j.set(checkReserved, true, want, want)
	}
	got := "1"
	if r.SignatureAlgo != 1 {
		got = fmt.Sprint(r.SignatureAlgo)
	}
	j.set(checkAlgorithm, r.SignatureAlgo == 1, "1", got)
}
