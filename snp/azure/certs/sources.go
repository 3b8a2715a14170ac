package certs

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/azure/internal/call"
)

// Where the services are unless something else is said.
const (
	DefaultTHIM    = "http://169.254.169.254/metadata/THIM/amd/certification"
	DefaultKDS     = "https://kdsintf.amd.com"
	DefaultAzCache = "https://global.acccache.azure.net"
)

// maxFile bounds a file of the security context, in bytes.
const maxFile = 256 << 10

// SecurityContext is the directory in which ACI's guests find what their host has: the file host-amd-cert-base64.
type SecurityContext struct{ Dir string }

// Chain reads the file.
func (s SecurityContext) Chain(_ context.Context, r *snp.Report) (Chain, error) {
	chain, err := s.chain(r)
	if err != nil {
		return nil, fmt.Errorf("certificates in the security context: %w", err)
	}
	return chain, nil
}

func (s SecurityContext) chain(r *snp.Report) (Chain, error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat("host-amd-cert-base64")
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: got %d bytes, want at most %d", filepath.Join(s.Dir, info.Name()), info.Size(), maxFile)
	}
	text, err := root.ReadFile("host-amd-cert-base64")
	if err != nil {
		return nil, err
	}
	return fromBase64(string(text), r)
}

// Variable is the same document in an environment variable's value.
type Variable struct{ Value string }

// Chain reads the value.
func (v Variable) Chain(_ context.Context, r *snp.Report) (Chain, error) {
	chain, err := fromBase64(v.Value, r)
	if err != nil {
		return nil, fmt.Errorf("certificates in UVM_HOST_AMD_CERTIFICATE: %w", err)
	}
	return chain, nil
}

func fromBase64(text string, r *snp.Report) (Chain, error) {
	document, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, err
	}
	return read(document, r)
}

// THIM is the host's own cache.
type THIM struct {
	URL  string // "" is DefaultTHIM
	Call call.Client
}

// Chain asks the host.
func (t THIM) Chain(ctx context.Context, r *snp.Report) (Chain, error) {
	at := t.URL
	if at == "" {
		at = DefaultTHIM
	}
	var answer []byte
	err := t.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: at, Header: http.Header{"Metadata": {"true"}}, Plain: true}, &answer)
	var chain Chain
	if err == nil {
		chain, err = read(answer, r)
	}
	if err != nil {
		return nil, fmt.Errorf("certificates from THIM: %w", err)
	}
	return chain, nil
}

// KDS is AMD's key distribution service. It has VCEKs only.
type KDS struct {
	Base string // "" is DefaultKDS
	Call call.Client
}

// Chain asks AMD for the chip's certificate, then for those above it.
func (k KDS) Chain(ctx context.Context, r *snp.Report) (Chain, error) {
	chain, err := k.chain(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("certificates from AMD: %w", err)
	}
	return chain, nil
}

func (k KDS) chain(ctx context.Context, r *snp.Report) (Chain, error) {
	if k.Base == "" {
		k.Base = DefaultKDS
	}
	line, path, err := kdsPath(r)
	if err != nil {
		return nil, err
	}
	var key, above []byte
	if err := k.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: k.Base + path}, &key); err != nil {
		return nil, err
	}
	if err := k.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: fmt.Sprintf("%s/vcek/v1/%s/cert_chain", k.Base, line)}, &above); err != nil {
		return nil, err
	}
	chain, err := read(key, r)
	if err != nil {
		return nil, err
	}
	return withRest(chain, above)
}

// kdsPath names the certificate of a report's key, for the product line that the report is of: a report of version 2 does not say, and is taken for Milan's.
func kdsPath(r *snp.Report) (snp.Line, string, error) {
	switch {
	case r.KeyInfo.Signer() == snp.SignerVLEK:
		return "", "", errors.New("the report is signed by a VLEK, which only the cloud provider has")
	case r.ChipID == [64]byte{}:
		return "", "", errors.New("the report's CHIP_ID is masked: nobody can tell whose certificate it needs")
	}
	line := snp.Milan
	if r.Version > 2 {
		var err error
		if line, err = snp.LineOf(r.CPU); err != nil {
			return "", "", err
		}
	}
	tcb, err := r.ReportedTCB.Parts(line)
	if err != nil {
		return "", "", err
	}
	id, query := r.ChipID[:], fmt.Sprintf("blSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", tcb.BootLoader, tcb.TEE, tcb.SNP, tcb.Microcode)
	if line == snp.Turin {
		id, query = id[:8], fmt.Sprintf("fmcSPL=%d&", tcb.FMC)+query
	}
	return line, fmt.Sprintf("/vcek/v1/%s/%s?%s", line, hex.EncodeToString(id), query), nil
}

// AzCache is Azure's cache of AMD's certificates.
type AzCache struct {
	Base       string // "" is DefaultAzCache
	TEE        string // "" is SevSnpVM
	APIVersion string // "api-version=...", as configurations have it
	ClientID   string // "clientId=..."
	Call       call.Client
}

// Chain asks the cache.
func (a AzCache) Chain(ctx context.Context, r *snp.Report) (Chain, error) {
	if a.Base == "" {
		a.Base = DefaultAzCache
	}
	if a.TEE == "" {
		a.TEE = "SevSnpVM"
	}
	at := fmt.Sprintf("%s/%s/certificates/%s/%016x", a.Base, url.PathEscape(a.TEE), hex.EncodeToString(r.ChipID[:]), binary.LittleEndian.Uint64(r.ReportedTCB[:]))
	if query := strings.Trim(a.APIVersion+"&"+a.ClientID, "&"); query != "" {
		at += "?" + query
	}
	var answer []byte
	err := a.Call.JSON(ctx, call.Question{Method: http.MethodGet, URL: at}, &answer)
	var chain Chain
	if err == nil {
		chain, err = read(answer, r)
	}
	if err != nil {
		return nil, fmt.Errorf("certificates from Azure's cache: %w", err)
	}
	return chain, nil
}
