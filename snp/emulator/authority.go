package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Subject is in every certificate made here, as organization and in the common name.
const Subject = "Cloister TEST ONLY - not AMD"

// Files of an authority's directory. The private keys are 0600; what a verifier needs is in a directory of its own, to be given to --roots.
const (
	rootsDir  = "roots"
	keySuffix = ".key.pem"
	crtSuffix = ".pem"
)

// Authority holds the keys of a make-believe AMD: root, two intermediates, and the endorsement keys of one make-believe chip and cloud.
type Authority struct {
	dir            string
	ark, ask, asvk *issuer
	vcek, vlek     *ecdsa.PrivateKey
	chipID         [64]byte
}

// issuer is a certificate authority's key and certificate.
type issuer struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

// DefaultDir is where a user's authority lives: $XDG_DATA_HOME/cloister/emulator.
func DefaultDir() (string, error) {
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the emulator's directory: %w", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "cloister", "emulator"), nil
}

// LoadOrInit loads the authority in dir, or makes one there once. Making it takes some seconds: the keys are RSA-4096, as AMD's are.
func LoadOrInit(dir string) (*Authority, error) {
	a, err := Load(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if err := initialize(dir); err != nil {
		return nil, fmt.Errorf("make emulator authority %q: %w", dir, err)
	}
	return Load(dir)
}

// RootsDir is the directory to give to a verifier's --roots.
func (a *Authority) RootsDir() string { return filepath.Join(a.dir, rootsDir) }

// Dir is the authority's directory.
func (a *Authority) Dir() string { return a.dir }

// Load loads the authority in dir. A directory without a root certificate is fs.ErrNotExist; anything else that is missing or open to other users is an
// error of its own.
func Load(dir string) (*Authority, error) {
	a := &Authority{dir: dir}
	if _, err := os.Stat(filepath.Join(dir, rootsDir, "ark"+crtSuffix)); err != nil {
		return nil, fmt.Errorf("load emulator authority %q: %w", dir, err)
	}
	var err error
	for name, to := range map[string]**issuer{"ark": &a.ark, "ask": &a.ask, "asvk": &a.asvk} {
		if *to, err = loadIssuer(dir, name); err != nil {
			return nil, broken(dir, err)
		}
	}
	for name, to := range map[string]**ecdsa.PrivateKey{"vcek": &a.vcek, "vlek": &a.vlek} {
		if *to, err = loadKey[*ecdsa.PrivateKey](dir, name); err != nil {
			return nil, broken(dir, err)
		}
	}
	pub, err := x509.MarshalPKIXPublicKey(a.vcek.Public())
	if err != nil {
		return nil, broken(dir, err)
	}
	a.chipID = sha512.Sum512(pub)
	return a, nil
}

// broken does not wrap: a half-present authority must not look like an absent one and be made anew over the old keys.
func broken(dir string, err error) error {
	return fmt.Errorf("load emulator authority %q: %v: remove the directory to make a new one", dir, err)
}

func loadIssuer(dir, name string) (*issuer, error) {
	key, err := loadKey[*rsa.PrivateKey](dir, name)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, rootsDir, name+crtSuffix)
	der, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w", path, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("parse %q: the certificate is not the key's", path)
	}
	return &issuer{key: key, cert: cert}, nil
}

func loadKey[K any](dir, name string) (K, error) {
	var zero K
	path := filepath.Join(dir, name+keySuffix)
	st, err := os.Stat(path)
	if err != nil {
		return zero, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return zero, fmt.Errorf("key %q: got mode %#o, want 0600", path, st.Mode().Perm())
	}
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return zero, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return zero, fmt.Errorf("parse key %q: %w", path, err)
	}
	k, ok := key.(K)
	if !ok {
		return zero, fmt.Errorf("parse key %q: got %T, want %T", path, key, zero)
	}
	return k, nil
}

func readPEM(path, kind string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("read %q: got no PEM block %q", path, kind)
	}
	return block.Bytes, nil
}

// initialize makes all keys beside dir and puts them in place with one rename, so that nobody ever sees half an authority. Who loses a race against
// another maker uses the winner's.
func initialize(dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".emulator-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := makeKeys(tmp); err != nil {
		return err
	}
	// An empty directory may have been made beforehand; one that holds anything stays.
	_ = os.Remove(dir)
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func makeKeys(dir string) error {
	var keys [3]*rsa.PrivateKey
	var g errgroup.Group
	for i := range keys {
		g.Go(func() (err error) {
			keys[i], err = rsa.GenerateKey(rand.Reader, 4096)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, rootsDir), 0o700); err != nil {
		return err
	}
	ark := &issuer{key: keys[0]}
	var err error
	for i, name := range []string{"ark", "ask", "asvk"} {
		cert, certErr := caCert(name, keys[i], ark)
		err = errors.Join(err, certErr, writeKey(dir, name, keys[i]))
		if certErr == nil {
			err = errors.Join(err, writePEM(filepath.Join(dir, rootsDir, name+crtSuffix), "CERTIFICATE", cert.Raw, 0o644))
		}
		if i == 0 {
			ark.cert = cert
		}
	}
	for _, name := range []string{"vcek", "vlek"} {
		key, keyErr := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if keyErr != nil {
			return keyErr
		}
		err = errors.Join(err, writeKey(dir, name, key))
	}
	return err
}

func writeKey(dir, name string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, name+keySuffix), "PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
