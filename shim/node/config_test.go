package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/shim/vm"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.toml")
	if err := os.WriteFile(path, []byte("tee = \"emulated\"\nvcpus = 2\nboot_timeout = \"30s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.TEE, want.VCPUs, want.BootTimeout = vm.TEEEmulated, 2, Duration(30*time.Second)
	if got, err := Load(path); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	t.Setenv(Env, path)
	if got, err := Load(""); err != nil || got != want {
		t.Errorf("by %s: got %+v, %v", Env, got, err)
	}
	t.Setenv(Env, path+".none")
	if _, err := Load(""); err == nil {
		t.Error("a file that was named and is not there was taken for the defaults")
	}
	if c, err := Parse(nil); err != nil || c != Default() {
		t.Errorf("an empty file: got %+v, %v, want the defaults", c, err)
	}
}

// TestParseRefuses: one line each, for it is what whoever starts a pod reads.
func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"a = 1":                                   `line 1: unknown key "a"`,
		"vcpus = 1\n\n[pod]\nmemory = 1":          `line 3: unknown key "pod"`,
		"vcpus = \"two\"":                         "line 1: ",
		"vcpus = 0":                               "vcpus: got 0, want 1 to 255",
		"max_vcpus = 1\nvcpus = 2":                "max_vcpus: got 1, want 2 to 255",
		"max_memory_mib = 64":                     "max_memory_mib: got 64",
		"tee = \"sgx\"":                           `tee: got "sgx"`,
		"layer_format = \"xfs\"":                  `layer_format: got "xfs"`,
		"scratch = \"host\"":                      `scratch: got "host"`,
		"guest = \"guest\"":                       `guest: got path "guest"`,
		"guest = \"\"":                            "guest: got none",
		"boot_timeout = \"soon\"":                 "line 1: ",
		"tee = \"snp\"\ntee = \"none\"":           "line 2: ",
		"vcpus = 1\nvcpus_of_a_pod = 2 # why not": `line 2: unknown key "vcpus_of_a_pod"`,
	} {
		if c, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %+v, %v, want one line with %q", text, c, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("tee = \"emulated\"\nvcpus = 2\n")
	f.Add("[a]\nb = [1, 2]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse([]byte(text))
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%q was taken, and is not valid: %v", text, err)
		}
	})
}
