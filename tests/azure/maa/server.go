// Package maa is Azure Attestation on loopback: it judges SEV-SNP evidence with snp/verify and signs what it found. It refuses evidence of any root but those it was
// configured with, the software processor's like any other.
//
// Of attestation policies it has the default one, which says yes to genuine evidence and decides nothing: that is for the key's release policy. An
// attempt to set another is refused, for this package does not evaluate that language.
//
// Source: Azure services contract, section 4.1.
package maa

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloister-cc/cloister/snp/verify"
)

// Options configures a Server.
type Options struct {
	Issuer string        // "https://HOST:PORT": what tokens say, and where their keys are
	Roots  *verify.Roots // whose evidence is genuine
	// Endorsement is what a utility VM's endorsement must be for the token to call it compliant.
	Endorsement *verify.EndorsementPolicy
	Now         func() time.Time // nil: the clock
}

// Server is one instance of the service.
type Server struct {
	Options
	verifier *verify.Verifier
	key      *rsa.PrivateKey
	keys     jose.JSONWebKeySet
	signer   jose.Signer
	mux      *http.ServeMux
}

const (
	lifetime   = 8 * time.Hour
	maxRequest = 1 << 20
)

var apiVersions = []string{"2020-10-01", "2022-08-01", "2025-06-01"}

// New makes a service with a key of its own.
func New(o Options) (*Server, error) {
	if o.Issuer == "" || o.Roots == nil {
		return nil, errors.New("emulated attestation service: want an issuer and roots")
	}
	s := &Server{Options: o}
	var err error
	if s.verifier, err = verify.New(o.Roots, verify.Options{}); err != nil {
		return nil, err
	}
	if err := s.makeKey(); err != nil {
		return nil, fmt.Errorf("emulated attestation service: %w", err)
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	s.mux.HandleFunc("GET /certs", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.keys) })
	s.mux.HandleFunc("POST /attest/{type}", s.attest)
	s.mux.HandleFunc("GET /policies/{type}", s.policy)
	s.mux.HandleFunc("PUT /policies/{type}", s.setPolicy)
	s.mux.HandleFunc("POST /policies/{type}", s.setPolicy)
	return s, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Server) makeKey() (err error) {
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Cloister TEST ONLY - emulated attestation service"},
		NotBefore: s.now().Add(-time.Hour), NotAfter: s.now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(der)
	kid := base64.StdEncoding.EncodeToString(digest[:])
	s.keys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: kid, Certificates: []*x509.Certificate{cert}, Use: "sig"}}}
	s.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: s.key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("jku", s.Issuer+"/certs"))
	return err
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": s.Issuer, "jwks_uri": s.Issuer + "/certs", "response_types_supported": []string{"token", "none"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "claims_supported": []string{"is-debuggable", "x-ms-ver", "x-ms-attestation-type"},
	})
}

// refusal is an error as the service answers it.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func invalid(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, "InvalidParameter", fmt.Sprintf(format, args...)}
}

func (s *Server) attest(w http.ResponseWriter, r *http.Request) {
	token, err := s.token(r)
	var no *refusal
	switch {
	case errors.As(err, &no):
		refuse(w, no)
	case err != nil:
		refuse(w, &refusal{http.StatusInternalServerError, "InternalServerError", "the emulator failed"})
	default:
		answer(w, http.StatusOK, map[string]string{"token": token})
	}
}

func (s *Server) token(r *http.Request) (string, error) {
	if kind := r.PathValue("type"); !strings.EqualFold(kind, "SevSnpVm") {
		return "", &refusal{http.StatusBadRequest, "InvalidOperation", fmt.Sprintf("attestation type %.32q is not emulated", kind)}
	}
	if v := r.URL.Query().Get("api-version"); !slices.Contains(apiVersions, v) {
		return "", invalid("api-version: got %.32q, want one of %v", v, apiVersions)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err != nil || len(body) > maxRequest {
		return "", invalid("the request is larger than %d bytes or was cut", maxRequest)
	}
	claims, err := s.judge(body)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// defaultPolicy is the text whose digest tokens carry.
const defaultPolicy = "version= 1.0;authorizationrules{=> permit();};issuancerules {};"

// policyHash is the digest as the service computes it.
func policyHash() string {
	encoded := base64.RawURLEncoding.EncodeToString([]byte(defaultPolicy))
	digest := sha256.Sum256([]byte(encoded))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func (s *Server) policy(w http.ResponseWriter, _ *http.Request) {
	payload, err := json.Marshal(map[string]string{"x-ms-policy": base64.RawURLEncoding.EncodeToString([]byte(defaultPolicy)), "iss": s.Issuer})
	if err == nil {
		var signed *jose.JSONWebSignature
		if signed, err = s.signer.Sign(payload); err == nil {
			var text string
			if text, err = signed.CompactSerialize(); err == nil {
				answer(w, http.StatusOK, map[string]string{"token": text})
				return
			}
		}
	}
	refuse(w, &refusal{http.StatusInternalServerError, "InternalServerError", "the emulator failed"})
}

func (s *Server) setPolicy(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && strings.HasSuffix(r.PathValue("type"), ":reset") {
		s.policy(w, r)
		return
	}
	refuse(w, &refusal{http.StatusBadRequest, "InvalidOperation", "the emulator has the default policy only"})
}

func refuse(w http.ResponseWriter, r *refusal) {
	w.Header().Set("x-ms-error-code", r.code)
	answer(w, r.status, map[string]any{"error": map[string]string{"code": r.code, "message": r.message}})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // whoever no longer listens has no error to be told
}
