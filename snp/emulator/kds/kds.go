package kds

import (
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// Options say how the servers behave.
type Options struct {
	// Throttle is the least time between two requests of one address to the key server; sooner ones are answered 429. Zero: no limit. AMD's takes about
	// one in ten seconds.
	Throttle time.Duration
	// Revoked are the certificates on the revocation lists, in DER.
	Revoked [][]byte
	// CRLExpired serves lists whose time has passed.
	CRLExpired bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// crlLife is how long a revocation list holds; AMD's hold for months.
const crlLife = 180 * 24 * time.Hour

// server answers from one authority.
type server struct {
	authority *emulator.Authority
	opt       Options

	mu    sync.Mutex
	certs map[emulator.Identity][]byte
	seen  map[string]time.Time // address to its last request
}

// Bounds of what requests make the server keep.
const (
	maxCerts = 1024
	maxSeen  = 1024
)

func newServer(a *emulator.Authority, opt Options) *server {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &server{authority: a, opt: opt, certs: map[emulator.Identity][]byte{}, seen: map[string]time.Time{}}
}

// Handler answers as AMD's key server: /vcek/v1/{line}/{hwid}?blSPL=…, /{vcek|vlek}/v1/{line}/cert_chain and /{vcek|vlek}/v1/{line}/crl
// (attestation contract, section 1.3). VLEKs are not given out by it, as by the real one.
func Handler(a *emulator.Authority, opt Options) http.Handler {
	s := newServer(a, opt)
	mux := http.NewServeMux()
	for _, kind := range []string{"vcek", "vlek"} {
		chain := pemChain(a.Chain(kind == "vlek"))
		mux.HandleFunc("GET /"+kind+"/v1/{line}/cert_chain", func(w http.ResponseWriter, r *http.Request) { s.chain(w, r, chain) })
		mux.HandleFunc("GET /"+kind+"/v1/{line}/crl", s.crl)
	}
	mux.HandleFunc("GET /vcek/v1/{line}/{hwid}", s.vcek)
	return s.throttled(mux)
}

func (s *server) throttled(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait := s.tooSoon(r.RemoteAddr); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			http.Error(w, "Too Many Requests", http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tooSoon is how long an address has to wait before it is served again.
func (s *server) tooSoon(remote string) time.Duration {
	host, _, err := net.SplitHostPort(remote)
	if err != nil || s.opt.Throttle == 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opt.Now()
	if wait := s.seen[host].Add(s.opt.Throttle).Sub(now); wait > 0 {
		return wait
	}
	if len(s.seen) >= maxSeen {
		clear(s.seen)
	}
	s.seen[host] = now
	return 0
}

// lineOf reads the path's product line; what it refuses it has answered.
func lineOf(w http.ResponseWriter, r *http.Request) (snp.Line, bool) {
	line := snp.Line(r.PathValue("line"))
	if !slices.Contains([]snp.Line{snp.Milan, snp.Genoa, snp.Turin}, line) {
		http.Error(w, fmt.Sprintf("product %.32q is not known", line), http.StatusNotFound)
		return "", false
	}
	return line, true
}

func (s *server) chain(w http.ResponseWriter, r *http.Request, chain []byte) {
	if _, ok := lineOf(w, r); !ok {
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(chain)
}

func pemChain(chain [][]byte) []byte {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func (s *server) crl(w http.ResponseWriter, r *http.Request) {
	if _, ok := lineOf(w, r); !ok {
		return
	}
	now := s.opt.Now()
	list := emulator.CRL{ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(crlLife), Revoked: s.opt.Revoked}
	if s.opt.CRLExpired {
		list.ThisUpdate, list.NextUpdate = now.Add(-2*crlLife), now.Add(-crlLife)
	}
	der, err := s.authority.SignCRL(list)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/pkix-crl")
	_, _ = w.Write(der)
}

func (s *server) vcek(w http.ResponseWriter, r *http.Request) {
	line, ok := lineOf(w, r)
	if !ok {
		return
	}
	if hwid := r.PathValue("hwid"); !strings.EqualFold(hwid, hex.EncodeToString(s.authority.HWID(line))) {
		http.Error(w, fmt.Sprintf("hwid %.40q is not known", hwid), http.StatusNotFound)
		return
	}
	tcb, err := parseTCB(line, r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	der, err := s.certificate(emulator.Identity{Line: line, TCB: tcb})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/pkix-cert")
	_, _ = w.Write(der)
}

// certificate is the same for the same processor as long as the server runs, as far as it can keep them.
func (s *server) certificate(id emulator.Identity) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if der, ok := s.certs[id]; ok {
		return der, nil
	}
	der, err := s.authority.Certify(id)
	if err != nil {
		return nil, err
	}
	if len(s.certs) >= maxCerts {
		clear(s.certs)
	}
	s.certs[id] = der
	return der, nil
}

// parseTCB reads the security versions of a VCEK's address: each part of the line's once, nothing else.
func parseTCB(line snp.Line, query string) (snp.TCBParts, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return snp.TCBParts{}, fmt.Errorf("query: %w", err)
	}
	var p snp.TCBParts
	parts := map[string]*uint8{"blSPL": &p.BootLoader, "teeSPL": &p.TEE, "snpSPL": &p.SNP, "ucodeSPL": &p.Microcode}
	if line == snp.Turin {
		parts["fmcSPL"] = &p.FMC
	}
	for name, v := range values {
		to, ok := parts[name]
		if !ok || len(v) != 1 {
			return snp.TCBParts{}, fmt.Errorf("parameter %.20q: not known for %s, or given %d times", name, line, len(v))
		}
		n, err := strconv.ParseUint(v[0], 10, 8)
		if err != nil {
			return snp.TCBParts{}, fmt.Errorf("parameter %.20q: got %.20q, want 0 to 255", name, v[0])
		}
		*to = uint8(n)
		delete(parts, name)
	}
	for name := range parts {
		return snp.TCBParts{}, fmt.Errorf("parameter %q is missing", name)
	}
	return p, nil
}
