package guest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests below build from the locked packages: the cache has them after the first "cloister guest build", otherwise
// they come from the machine's mirror. CLOISTER_PACKAGES names a directory that has them on a machine without one.
func testPackages(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds images from 75 MB of Debian packages: run without -short")
	}
	return os.Getenv("CLOISTER_PACKAGES")
}

// oneBuildUnderRace says why a test that builds whole images is left out under the race detector: packing takes it ten times as long there, and one whole build,
// TestImageBoots, shows it all that runs at the same time.
func oneBuildUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("packs images like TestImageBoots: run without -race")
	}
}

// testPrograms compiles the programs that stand in for ours, once.
var testPrograms = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cloister-guest-test-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"hello", "probe"} {
		program, err := goBuild(context.Background(), "..", "./guest/testdata/"+name)
		if err != nil {
			return dir, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o755); err != nil {
			return dir, err
		}
	}
	return dir, nil
})

func testProgram(t *testing.T, name string) string {
	t.Helper()
	dir, err := testPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := testPrograms(); err == nil || dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// TestImageContents holds the list of files of both kinds of image, with their modes, to a golden file: what is in the
// guest's trusted base changes only where a reviewer sees it.
func TestImageContents(t *testing.T) {
	oneBuildUnderRace(t)
	packages := testPackages(t)
	for _, dev := range []bool{false, true} {
		o := Options{Dev: dev, Packages: packages, Agent: testProgram(t, "hello"), Emulator: testProgram(t, "probe")}
		root := rootOf(t, o)
		var b bytes.Buffer
		for _, name := range root.paths() {
			e := root.entries[name]
			target := ""
			if e.mode&0o170000 == typeSymlink {
				target = " -> " + string(e.data)
			}
			fmt.Fprintf(&b, "%06o /%s%s\n", e.mode, name, target)
		}
		kind := Production
		if dev {
			kind = Development
		}
		golden(t, "image-"+kind+".txt", b.Bytes())
		if !dev {
			// Not under another name either.
			emulator, err := os.ReadFile(o.Emulator)
			if err != nil {
				t.Fatal(err)
			}
			for name, e := range root.entries {
				if bytes.Equal(e.data, emulator) || strings.Contains(name, "emulator") || strings.Contains(name, "cuse") {
					t.Errorf("production image: /%s does not belong there", name)
				}
			}
		}
	}
}

// rootOf lays an image's root file system out without packing it.
func rootOf(t *testing.T, o Options) *tree {
	t.Helper()
	recipe, err := LoadRecipe("")
	if err != nil {
		t.Fatal(err)
	}
	img, set := &image{kind: Production}, openLocked(t, recipe, o.Packages)
	if img.agent, err = os.ReadFile(o.Agent); err != nil {
		t.Fatal(err)
	}
	if o.Dev {
		img.kind = Development
		if img.emulator, err = os.ReadFile(o.Emulator); err != nil {
			t.Fatal(err)
		}
	}
	k, err := openKernel(set)
	if err != nil {
		t.Fatal(err)
	}
	root, err := img.rootFS(set, k, recipe.modules(o.Dev))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func openLocked(t *testing.T, recipe *Recipe, dir string) *packageSet {
	t.Helper()
	files, err := fetch(t.Context(), recipe.Packages, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, err := openPackages(t.Context(), recipe.Packages, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close() })
	return set
}

// TestLibrariesComeFromLockedPackages leaves one library out of the lock. The build machine has it (the tests run on
// it); the build fails all the same.
func TestLibrariesComeFromLockedPackages(t *testing.T) {
	oneBuildUnderRace(t)
	recipe, err := LoadRecipe("")
	if err != nil {
		t.Fatal(err)
	}
	keep := []string{"crun", "libc6", "libseccomp2", "libcap2"}
	recipe.Packages = slices.DeleteFunc(recipe.Packages, func(p Package) bool { return !slices.Contains(keep, p.Name) })
	set := openLocked(t, recipe, testPackages(t))
	err = linked(newTree(), set, "/usr/bin/crun", "usr/bin/crun", map[string]bool{})
	if err == nil || !strings.Contains(err.Error(), `"/usr/bin/crun" needs "lib`) || !strings.Contains(err.Error(), "no locked package holds it") {
		t.Errorf("got %v, want the library that is missing", err)
	}
}

// sourceTree makes a small Cloister source tree: our recipe, and programs that only say hello.
func sourceTree(t *testing.T, root string) {
	t.Helper()
	hello, err := os.ReadFile("testdata/hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	writeTest(t, filepath.Join(root, "go.mod"), string(mod))
	sum, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	writeTest(t, filepath.Join(root, "go.sum"), string(sum))
	writeTest(t, filepath.Join(root, agentPackage, "main.go"), string(hello))
	writeTest(t, filepath.Join(root, emulatorPackage, "main.go"), strings.Replace(string(hello), "hello", "emulator", 1))
	writeTest(t, filepath.Join(root, "guest", "modules.list"), string(embeddedModules))
	writeTest(t, filepath.Join(root, "guest", "packages.lock"), string(embeddedLock))
}

// TestBuildTwice builds whole images with all that must not matter changed: the path of the source, the working
// directory, the umask, the time zone, the time the sources were written, the order and place of the packages.
func TestBuildTwice(t *testing.T) {
	oneBuildUnderRace(t)
	packages := testPackages(t)
	first, second := t.TempDir(), filepath.Join(t.TempDir(), "another", "path with a blank")
	sourceTree(t, filepath.Join(first, "src"))
	sourceTree(t, second)
	reverseLock(t, second)
	t.Chdir(filepath.Join(first, "src"))
	a, err := Build(t.Context(), Options{Dev: true, Out: "../image", Packages: packages})
	if err != nil {
		t.Fatal(err)
	}

	old := time.Unix(1e9, 0)
	err = filepath.WalkDir(second, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(name, old, old)
	})
	if err != nil {
		t.Fatal(err)
	}
	debs := copyPackages(t, packages)
	t.Setenv("TZ", "Pacific/Auckland")
	t.Setenv("GOFLAGS", "-ldflags=-X=main.version=1")
	t.Setenv("SOURCE_DATE_EPOCH", "1234567890")
	t.Chdir(filepath.Join(second, "guest"))
	defer syscall.Umask(syscall.Umask(0o077))
	out := filepath.Join(second, "out", "image")
	if _, err := Build(t.Context(), Options{Dev: true, Out: out, Packages: debs}); err != nil {
		t.Fatal(err)
	}

	for _, name := range outputFiles {
		one, err := os.ReadFile(filepath.Join(first, "image", name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s: got other bytes the second time (%d, then %d)", name, len(one), len(two))
		}
	}
	if a.Measurements.Kind != Development || a.Measurements.Emulator == nil || *a.Measurements.Emulator == a.Measurements.Agent {
		t.Errorf("got measurements %+v, want a development image with two programs", a.Measurements)
	}
}

// reverseLock turns the lock's lines around.
func reverseLock(t *testing.T, source string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(embeddedLock)), "\n")
	slices.Reverse(lines)
	writeTest(t, LockPath(source), strings.Join(lines, "\n")+"\n")
}

// copyPackages puts the locked packages into another directory, under apt's names.
func copyPackages(t *testing.T, packages string) string {
	t.Helper()
	recipe, err := LoadRecipe("")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fetch(t.Context(), recipe.Packages, packages, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, p := range recipe.Packages {
		data, err := os.ReadFile(files[p.Name])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, aptFile(p)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestBuildOutsideASourceTree is cloister as an installed binary: it says what to give.
func TestBuildOutsideASourceTree(t *testing.T) {
	agent := testProgram(t, "hello")
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"agent", Options{Out: "image"}, "--agent FILE"},
		{"emulator", Options{Out: "image", Dev: true, Agent: agent}, "--emulator FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Build(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestImageBoots boots a development image at the kernel's PVH entry. Its init is a program that loads every module in
// the order modules.dep gives and runs crun and mke2fs.
func TestImageBoots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "image")
	o := Options{Dev: true, Out: dir, Packages: testPackages(t), Agent: testProgram(t, "hello"), Emulator: testProgram(t, "probe")}
	requireQEMU(t)
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	vmlinux, err := VMLinux(filepath.Join(dir, FileKernel))
	if err != nil {
		t.Fatal(err)
	}
	console := bootImage(t, vmlinux, filepath.Join(dir, FileInitrd))
	for line := range strings.Lines(console) {
		if strings.Contains(line, "FAIL") {
			t.Error(strings.TrimSpace(line))
		}
	}
	for _, want := range []string{"ok module cuse", "ok module dm_verity", "ok module ext4", "ok module sev_guest", "ok crun", "ok mke2fs", "probe done"} {
		if !strings.Contains(console, want) {
			t.Errorf("the console does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(console)
	}
}

// TestProductionImageBoots boots vmlinuz itself, as an SNP host does, with both forms of the initrd.
func TestProductionImageBoots(t *testing.T) {
	oneBuildUnderRace(t)
	packages := testPackages(t)
	requireQEMU(t)
	for name, form := range map[string]Compression{"lz4": LZ4, "plain": Plain} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "image")
			if _, err := Build(t.Context(), Options{Out: dir, Packages: packages, Agent: testProgram(t, "hello"), Initrd: form}); err != nil {
				t.Fatal(err)
			}
			if console := bootImage(t, filepath.Join(dir, FileKernel), filepath.Join(dir, FileInitrd)); !strings.Contains(console, "hello from init") {
				t.Errorf("the init did not run:\n%s", console)
			}
		})
	}
}

func requireQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64: apt-get install qemu-system-x86")
	}
}

// bootImage runs a VM until it powers itself off and returns its console.
func bootImage(t *testing.T, kernel, initrd string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", kernel, "-initrd", initrd, "-append", Cmdline)
	console, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("qemu: %v\n%s", err, console)
	}
	return string(console)
}
