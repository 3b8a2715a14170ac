package kds

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
)

// PathTHIM is where the host service answers.
const PathTHIM = "/metadata/THIM/amd/certification"

// certification is the host service's answer: what a host knows of its own processor. Certificates are PEM, tcbm is the TCB as 16 hexadecimal digits,
// most significant byte first.
type certification struct {
	VCEKCert         string `json:"vcekCert"`
	TCBM             string `json:"tcbm"`
	CertificateChain string `json:"certificateChain"`
	CacheControl     string `json:"cacheControl"`
}

// THIM answers as a cloud host's certificate service: the VCEK of the host's own processor, or of the TCB asked for, with its chain. As there, the header
// "Metadata: true" keeps requests out that a workload was tricked into making.
func THIM(a *emulator.Authority, host emulator.Identity, opt Options) http.Handler {
	s := newServer(a, opt)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathTHIM, func(w http.ResponseWriter, r *http.Request) { s.certification(w, r, host) })
	return mux
}

// refusal is the shape of the service's errors.
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *server) certification(w http.ResponseWriter, r *http.Request, host emulator.Identity) {
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		answer(w, http.StatusBadRequest, refusal{"invalid_request", "Required metadata header not specified"})
		return
	}
	id, err := s.asked(r, host)
	if err != nil {
		answer(w, http.StatusBadRequest, refusal{"invalid_request", err.Error()})
		return
	}
	der, err := s.certificate(id)
	if err != nil {
		answer(w, http.StatusInternalServerError, refusal{"internal_error", err.Error()})
		return
	}
	tcb := id.TCB.Bytes(id.Line)
	answer(w, http.StatusOK, certification{
		VCEKCert:         string(pemChain([][]byte{der})),
		TCBM:             fmt.Sprintf("%016X", binary.LittleEndian.Uint64(tcb[:])),
		CertificateChain: string(pemChain(s.authority.Chain(false))),
		CacheControl:     "86400",
	})
}

// asked is the host's processor as the optional parameters tcbVersion, platformId and productName have it.
func (s *server) asked(r *http.Request, host emulator.Identity) (emulator.Identity, error) {
	id := emulator.Identity{Line: host.Line, TCB: host.TCB}
	q := r.URL.Query()
	if name := q.Get("productName"); name != "" {
		line, err := snp.LineNamed(name)
		if err != nil || line != host.Line {
			return id, fmt.Errorf("productName: got %.32q, want %s", name, host.Line)
		}
	}
	if chip := q.Get("platformId"); chip != "" && !strings.EqualFold(chip, hex.EncodeToString(s.authority.HWID(host.Line))) {
		return id, fmt.Errorf("platformId: got %.40q, which is not this host", chip)
	}
	text := q.Get("tcbVersion")
	if text == "" {
		return id, nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 8 {
		return id, fmt.Errorf("tcbVersion: got %.40q, want 16 hexadecimal digits", text)
	}
	var tcb snp.TCB
	binary.LittleEndian.PutUint64(tcb[:], binary.BigEndian.Uint64(b))
	id.TCB, err = tcb.Parts(host.Line)
	return id, err
}
