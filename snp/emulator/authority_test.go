package emulator

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// authority is made once for all tests of the package: RSA-4096 keys take seconds.
var authority = sync.OnceValues(func() (*Authority, error) {
	return LoadOrInit(filepath.Join(authorityDir, "emulator"))
})

var authorityDir string

func testAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMain(m *testing.M) {
	var err error
	if authorityDir, err = os.MkdirTemp("", "cloister-authority-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(authorityDir)
	os.Exit(code)
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	a := testAuthority(t)
	again, err := LoadOrInit(a.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if !again.vcek.Equal(a.vcek) || !again.ark.key.Equal(a.ark.key) || again.chipID != a.chipID {
		t.Error("the second call made other keys")
	}
	for _, c := range []*issuer{a.ark, a.ask, a.asvk} {
		if got := c.cert.Subject.CommonName; !strings.Contains(got, Subject) {
			t.Errorf("common name: got %q, want %q in it", got, Subject)
		}
	}
}

func TestAuthorityKeysArePrivate(t *testing.T) {
	a := testAuthority(t)
	keys, err := filepath.Glob(filepath.Join(a.Dir(), "*"+keySuffix))
	if err != nil || len(keys) != 5 {
		t.Fatalf("got %d keys (%v), want 5", len(keys), err)
	}
	for _, k := range keys {
		st, err := os.Stat(k)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %#o, want 0600", filepath.Base(k), st.Mode().Perm())
		}
	}
}

func TestAuthorityHalfPresentIsNotMadeAnew(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(dir string) error
	}{
		{"key missing", func(dir string) error { return os.Remove(filepath.Join(dir, "ask"+keySuffix)) }},
		{"key open to others", func(dir string) error { return os.Chmod(filepath.Join(dir, "vcek"+keySuffix), 0o640) }},
		{"key of another", func(dir string) error {
			return os.Rename(filepath.Join(dir, "ask"+keySuffix), filepath.Join(dir, "ark"+keySuffix))
		}},
		{"certificate is no PEM", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, rootsDir, "ask.pem"), []byte("x"), 0o644)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "emulator")
			if err := os.CopyFS(dir, os.DirFS(testAuthority(t).Dir())); err != nil {
				t.Fatal(err)
			}
			keys, _ := filepath.Glob(filepath.Join(dir, "*"+keySuffix))
			for _, k := range keys {
				if err := os.Chmod(k, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := LoadOrInit(dir); err != nil {
				t.Fatalf("unspoiled copy: %v", err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadOrInit(dir); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want an error naming the directory", err)
			}
		})
	}
}
