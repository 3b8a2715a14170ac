package skr

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/cloister-cc/cloister/snp/azure/keyvault"
	"github.com/cloister-cc/cloister/snp/azure/maa"
)

// keyBits is the size of a wrapping key.
const keyBits = 2048

// Request says which key is wanted, and from whom. Endpoints are hosts' names or https URLs.
type Request struct {
	MAA         string // attestation service
	Vault       string // key service
	KID         string // NAME or NAME/VERSION
	AccessToken string // bearer token for the key service; "" gets one by the guest's identity
}

// Released is a key. Wipe it when it was handed on.
type Released struct {
	JWK    []byte // JSON Web Key
	KeyID  string
	Policy []byte // the release policy that it came under
}

// Wipe forgets the key.
func (r *Released) Wipe() { clear(r.JWK) }

// Releaser takes the steps. Attester and Vault make clients for the endpoints that requests name.
type Releaser struct {
	Source   Source
	Attester func(endpoint string) (*maa.Client, error)
	Vault    func(endpoint string) (*keyvault.Client, error)
	// Identity gets a bearer token for an audience, by the guest's managed or workload identity. Nil has none. Only Azure's own key services are shown that token, and
	// those in Vaults: whoever asks for a key also says at which service.
	Identity func(ctx context.Context, audience string) (string, error)
	Vaults   []string         // hosts, with their port if it is not https's
	Now      func() time.Time // nil: the clock

	mu       sync.Mutex
	attested map[string]*attested // by attestation endpoint
}

// attested is a wrapping key with a token about it. It serves until the token ends: the key service takes the token as often as it is shown, and a key pair takes longer to
// make than all the rest of a release.
type attested struct {
	key     *rsa.PrivateKey
	token   string
	expires time.Time
	ready   chan struct{} // closed when the fields above are set, or err is
	err     error
}

// margin is how long before its end a token is no longer used.
const margin = 2 * time.Minute

// maxAttested bounds the attestation services that are remembered.
const maxAttested = 16

// Release takes all steps.
func (r *Releaser) Release(ctx context.Context, q Request) (*Released, error) {
	vault, err := r.Vault(q.Vault)
	if err != nil {
		return nil, err
	}
	a, err := r.attest(ctx, q.MAA)
	if err != nil {
		return nil, err
	}
	bearer, err := r.bearer(ctx, vault, q.AccessToken)
	if err != nil {
		return nil, err
	}
	answer, err := vault.Release(ctx, q.KID, a.token, bearer)
	if err != nil {
		return nil, r.explain(ctx, vault, q.KID, bearer, a.token, err)
	}
	secret, err := answer.Unwrap(a.key)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	key, err := answer.JWK(secret)
	if err != nil {
		return nil, err
	}
	return &Released{JWK: key, KeyID: answer.KeyID, Policy: answer.Policy}, nil
}

func (r *Releaser) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// attest returns a wrapping key with a token that is still good. Callers that come together wait for one attestation.
func (r *Releaser) attest(ctx context.Context, endpoint string) (*attested, error) {
	r.mu.Lock()
	a := r.attested[endpoint]
	if a == nil || a.over(r.now()) {
		if err := r.makeRoom(); err != nil {
			r.mu.Unlock()
			return nil, err
		}
		a = &attested{ready: make(chan struct{})}
		r.attested[endpoint] = a
		// Whoever came first may leave; the others still want the answer.
		go r.fill(context.WithoutCancel(ctx), a, endpoint)
	}
	r.mu.Unlock()
	select {
	case <-a.ready:
		return a, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// makeRoom forgets attestations that are done when there are many. Those under way are bounded: each makes a key pair.
func (r *Releaser) makeRoom() error {
	if r.attested == nil {
		r.attested = map[string]*attested{}
	}
	if len(r.attested) < maxAttested {
		return nil
	}
	for endpoint, a := range r.attested {
		select {
		case <-a.ready:
			delete(r.attested, endpoint)
		default:
		}
	}
	if len(r.attested) >= maxAttested {
		return fmt.Errorf("attest: %d attestations are under way, want fewer at a time", len(r.attested))
	}
	return nil
}

// over says that an attestation has failed or its token ends.
func (a *attested) over(now time.Time) bool {
	select {
	case <-a.ready:
		return a.err != nil || now.Add(margin).After(a.expires)
	default:
		return false
	}
}

// attestTimeout bounds one attestation with all its tries.
const attestTimeout = time.Minute

func (r *Releaser) fill(ctx context.Context, a *attested, endpoint string) {
	ctx, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	defer close(a.ready)
	if a.key, a.err = rsa.GenerateKey(rand.Reader, keyBits); a.err != nil {
		return
	}
	var token string
	if token, a.err = r.Token(ctx, endpoint, maa.WrappingKeys(&a.key.PublicKey)); a.err != nil {
		return
	}
	a.token = token
	a.expires, a.err = expiry(token)
}

// Token is evidence over runtime data turned into a token at an attestation service.
func (r *Releaser) Token(ctx context.Context, endpoint string, runtime []byte) (string, error) {
	client, err := r.Attester(endpoint)
	if err != nil {
		return "", err
	}
	evidence, err := r.Source.Evidence(ctx, runtime)
	if err != nil {
		return "", err
	}
	nonce, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<63))
	if err != nil {
		return "", err
	}
	request, err := maa.NewRequest(evidence, runtime, nonce.Uint64()|1)
	if err != nil {
		return "", err
	}
	return client.Attest(ctx, request)
}

func (r *Releaser) bearer(ctx context.Context, vault *keyvault.Client, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if r.Identity == nil {
		return "", errors.New("release key: no access token was given, and this guest has no identity to get one with")
	}
	if !vault.Azure() && !slices.Contains(r.Vaults, vault.Host()) {
		return "", fmt.Errorf("release key: %.128q is no key service of Azure's nor one that this guest is configured for, and is not shown its identity's token: bring an access token, or configure it", vault.Host())
	}
	token, err := r.Identity(ctx, vault.Audience())
	if err != nil {
		return "", fmt.Errorf("release key: %w", err)
	}
	return token, nil
}
