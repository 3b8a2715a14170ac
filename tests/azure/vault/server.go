// Package vault is Azure Key Vault, or a managed HSM, on loopback: keys are imported under release policies and released, wrapped, to whoever brings an attestation token
// that the policy wants.
//
// It believes every authority that a policy names and whose keys it can fetch, as the real service does, and bearer tokens that the function it was given accepts.
// Soft deletion, rotation, backups and all operations with keys but import, get and release are not emulated.
//
// Source: Azure services contract, section 4.2.
package vault

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp/azure/keyvault"
	"github.com/cloister-cc/cloister/snp/azure/maa"
)

// Options configures a Server.
type Options struct {
	URL  string // "https://HOST:PORT": what keys are called
	Name string // the DNS name in the certificate that signs answers
	// Login is the address of the identity service, for whoever comes without a token; Resource the audience to ask it for.
	Login, Resource string
	// Authorize says whether a bearer token is one for this service.
	Authorize func(token string) bool
	// HTTP asks authorities for their keys.
	HTTP *http.Client
	Now  func() time.Time // nil: the clock
}

// Server is one vault.
type Server struct {
	Options
	signer *signer
	mux    *http.ServeMux

	mu   sync.Mutex
	keys map[string][]*key // by name, oldest first
}

const maxRequest = 1 << 20

// apiVersion is a version of the interface that knows release.
var apiVersion = regexp.MustCompile(`^(7\.[3-6]|20[0-9]{2}-[0-9]{2}-[0-9]{2})(-preview)?$`)

// New makes an empty vault with a signing key of its own.
func New(o Options) (*Server, error) {
	if o.URL == "" || o.Name == "" || o.Authorize == nil {
		return nil, errors.New("emulated key vault: want a URL, a name and who is authorized")
	}
	s := &Server{Options: o, keys: map[string][]*key{}}
	var err error
	if s.signer, err = newSigner(o.Name, s.now()); err != nil {
		return nil, fmt.Errorf("emulated key vault: %w", err)
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("PUT /keys/{name}", s.serve(s.put))
	s.mux.HandleFunc("GET /keys/{name}", s.serve(s.get))
	s.mux.HandleFunc("GET /keys/{name}/{version}", s.serve(s.get))
	s.mux.HandleFunc("POST /keys/{name}/{version}", s.serve(s.releaseNewest)) // whose version is "release"
	s.mux.HandleFunc("POST /keys/{name}/{version}/release", s.serve(s.release))
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// SignerPEM is the root of the certificates that sign answers, in PEM.
func (s *Server) SignerPEM() []byte { return s.signer.rootPEM }

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// refusal is an error as the service answers it.
type refusal struct {
	status               int
	code, message, inner string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func badParameter(inner, format string, args ...any) error {
	return &refusal{http.StatusBadRequest, "BadParameter", fmt.Sprintf(format, args...), inner}
}

func forbidden(message string) error {
	return &refusal{http.StatusForbidden, "Forbidden", message, ""}
}

// serve checks who asks, then answers.
func (s *Server) serve(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !s.Authorize(token) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization=%q, resource=%q`, s.Login, s.Resource))
			refuse(w, &refusal{http.StatusUnauthorized, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", ""})
			return
		}
		if v := r.URL.Query().Get("api-version"); !apiVersion.MatchString(v) {
			refuse(w, &refusal{http.StatusBadRequest, "BadParameter", fmt.Sprintf("api-version: got %.32q, want 7.3 to 7.6 or a date", v), ""})
			return
		}
		out, err := do(r)
		var no *refusal
		switch {
		case errors.As(err, &no):
			refuse(w, no)
		case err != nil:
			refuse(w, &refusal{http.StatusInternalServerError, "InternalServerError", "the emulator failed", ""})
		default:
			answer(w, http.StatusOK, out)
		}
	}
}

func refuse(w http.ResponseWriter, r *refusal) {
	body := map[string]any{"code": r.code, "message": r.message}
	if r.inner != "" {
		body["innererror"] = map[string]string{"code": r.inner}
	}
	answer(w, r.status, map[string]any{"error": body})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // whoever no longer listens has no error to be told
}

var nameForm = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)

func read(r *http.Request, into any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err == nil && len(body) > maxRequest {
		err = errors.New("too long")
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return badParameter("", "the request is not understood")
	}
	return nil
}

// put imports a key as the newest version of its name.
func (s *Server) put(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if !nameForm.MatchString(name) {
		return nil, badParameter("", "the name %.128q has another form than keys' names", name)
	}
	var in imported
	if err := read(r, &in); err != nil {
		return nil, err
	}
	k, err := in.key()
	if err != nil {
		return nil, err
	}
	var version [16]byte
	rand.Read(version[:])
	k.version = hex.EncodeToString(version[:])
	k.id = s.URL + "/keys/" + name + "/" + k.version
	k.created = s.now().Unix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.keys[name]; len(old) > 0 && old[len(old)-1].immutable {
		return nil, badParameter("AKV.SKR.1020", "the release policy of %s is immutable", name)
	}
	s.keys[name] = append(s.keys[name], k)
	return k.public(), nil
}

func (s *Server) find(r *http.Request, version string) (*key, error) {
	name := r.PathValue("name")
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.keys[name]
	for i := len(all) - 1; i >= 0; i-- {
		if version == "" || all[i].version == version {
			return all[i], nil
		}
	}
	return nil, &refusal{http.StatusNotFound, "KeyNotFound", fmt.Sprintf("A key with (name/id) %.128s was not found in this key vault.", strings.Trim(name+"/"+version, "/")), ""}
}

func (s *Server) get(r *http.Request) (any, error) {
	k, err := s.find(r, r.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return k.public(), nil
}

func (s *Server) releaseNewest(r *http.Request) (any, error) {
	if r.PathValue("version") != "release" {
		return nil, &refusal{http.StatusNotFound, "NotFound", "no such operation", ""}
	}
	return s.releaseOf(r, "")
}

func (s *Server) release(r *http.Request) (any, error) { return s.releaseOf(r, r.PathValue("version")) }

// releaseOf gives a key to a guest: first who the guest is, then whether the policy wants it.
func (s *Server) releaseOf(r *http.Request, version string) (any, error) {
	k, err := s.find(r, version)
	if err != nil {
		return nil, err
	}
	var in struct{ Target, Enc, Nonce string }
	if err := read(r, &in); err != nil {
		return nil, err
	}
	var issuers []string
	for _, a := range k.policy.Authorities {
		issuers = append(issuers, a.URL)
	}
	v := &maa.Verifier{Issuers: issuers, Now: s.Now}
	v.Call.HTTP, v.Call.Tries = s.HTTP, 1
	token, err := v.Verify(r.Context(), in.Target)
	if err != nil {
		return nil, forbidden("Target environment attestation statement cannot be verified.")
	}
	claims, err := keyvault.ParseClaims(token.Payload)
	if err != nil || !k.policy.Evaluate(token.Issuer, claims).Released {
		return nil, forbidden("Target environment attestation does not meet key release policy requirements")
	}
	guest, err := wrappingKey(token.Payload)
	if err != nil {
		return nil, err
	}
	wrapped, enc, err := wrap(guest, in.Enc, k.secret)
	if err != nil {
		return nil, err
	}
	text, err := s.signer.sign(k, in.Nonce, enc, wrapped)
	if err != nil {
		return nil, err
	}
	return map[string]string{"value": text}, nil
}
