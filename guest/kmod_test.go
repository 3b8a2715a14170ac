package guest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
)

// fakeModule is an ELF file with a .modinfo section and nothing else.
func fakeModule(t *testing.T, modinfo string) string {
	t.Helper()
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	at := header + len(modinfo) + len(names)
	var b bytes.Buffer
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}
	for _, part := range []any{
		elf.Header64{
			Ident: ident, Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: uint64(at),
			Ehsize: header, Shentsize: section, Shnum: 3, Shstrndx: 2,
		},
		[]byte(modinfo), []byte(names),
		elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: header, Size: uint64(len(modinfo))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(header + len(modinfo)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// fakeKernel is a kernel package with modules given as file and depends= line; the modules "hmac" and "sha256_generic"
// are built in.
func fakeKernel(t *testing.T, modules map[string]string) *kernel {
	t.Helper()
	const base = "lib/modules/6.1.0-1-amd64/"
	files := [][2]string{{base + "modules.builtin", "kernel/crypto/hmac.ko\nkernel/crypto/sha256-generic.ko\n"}}
	for file, depends := range modules {
		files = append(files, [2]string{base + "kernel/" + file + ".ko", fakeModule(t, "license=GPL\x00depends="+depends+"\x00name=x\x00")})
	}
	dir := t.TempDir()
	set, err := openDebs(t, dir, makeDeb(t, dir, "linux", files))
	if err != nil {
		t.Fatal(err)
	}
	k, err := openKernel(set)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestModulesClosure(t *testing.T) {
	k := fakeKernel(t, map[string]string{
		"md/dm-verity": "dm-mod,dm_bufio", "md/dm-mod": "", "md/dm-bufio": "dm-mod", "fs/ext4": "jbd2,mbcache", "fs/jbd2": "", "fs/mbcache": "",
		"crypto/crc32c": "", "crypto/crc32c-intel": "", "net/unused": "",
	})
	s, err := k.collect([]Module{
		{Name: "dm_verity", Needs: []string{"hmac"}, Soft: []string{"sha256-generic"}},
		{Name: "hmac"},
		{Name: "ext4"},
		{Name: "jbd2", Needs: []string{"crc32c"}, Soft: []string{"crc32c-intel"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tree := newTree()
	if err := s.install(tree); err != nil {
		t.Fatal(err)
	}
	const base = "usr/lib/modules/6.1.0-1-amd64/"
	want := `kernel/crypto/crc32c-intel.ko:
kernel/crypto/crc32c.ko:
kernel/fs/ext4.ko: kernel/fs/mbcache.ko kernel/fs/jbd2.ko kernel/crypto/crc32c.ko
kernel/fs/jbd2.ko: kernel/crypto/crc32c.ko
kernel/fs/mbcache.ko:
kernel/md/dm-bufio.ko: kernel/md/dm-mod.ko
kernel/md/dm-mod.ko:
kernel/md/dm-verity.ko: kernel/md/dm-bufio.ko kernel/md/dm-mod.ko
`
	if got := string(tree.entries[base+"modules.dep"].data); got != want {
		t.Errorf("modules.dep: got\n%swant\n%s", got, want)
	}
	if got, want := string(tree.entries[base+"modules.softdep"].data), "softdep jbd2 pre: crc32c_intel\n"; got != want {
		t.Errorf("modules.softdep: got %q, want %q", got, want)
	}
	if _, there := tree.entries[base+"kernel/net/unused.ko"]; there {
		t.Error("a module nobody asked for is in the image")
	}
	if e := tree.entries[base+"kernel/fs/ext4.ko"]; e.mode != typeRegular|0o644 || len(e.data) == 0 {
		t.Errorf("ext4.ko: got mode %#o and %d bytes", e.mode, len(e.data))
	}
}

func TestModulesMissing(t *testing.T) {
	k := fakeKernel(t, map[string]string{"fs/ext4": "jbd2", "net/tun": ""})
	_, err := k.collect([]Module{{Name: "sev-guest"}, {Name: "ext4"}, {Name: "tun", Soft: []string{"fast_tun"}}})
	for _, want := range []string{
		`find module "sev-guest", wanted by modules.list: kernel 6.1.0-1-amd64 has neither`,
		`find module "jbd2", wanted by ext4`, `find module "fast_tun", wanted by tun`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to hold %q", err, want)
		}
	}
}

func TestModulesCycle(t *testing.T) {
	k := fakeKernel(t, map[string]string{"a": "b", "b": "a"})
	s, err := k.collect([]Module{{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.dep(); err == nil || !strings.Contains(err.Error(), "depends on itself") {
		t.Errorf("got %v", err)
	}
}

func TestModuleDependsRefuses(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"no-elf", strings.Repeat("text", 32), "bad magic"},
		{"no-depends", fakeModule(t, "license=GPL\x00"), "no depends= line"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := moduleDepends([]byte(tt.data)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOpenKernelRefuses(t *testing.T) {
	dir := t.TempDir()
	none := makeDeb(t, dir, "none", [][2]string{{"usr/bin/x", "x"}})
	one := makeDeb(t, dir, "one", [][2]string{{"lib/modules/1/modules.builtin", ""}})
	two := makeDeb(t, dir, "two", [][2]string{{"lib/modules/2/modules.builtin", ""}})
	twice := makeDeb(t, dir, "twice", [][2]string{{"lib/modules/3/a/x-y.ko", ""}, {"lib/modules/3/b/x_y.ko", ""}})
	for _, tt := range []struct {
		name     string
		packages []Package
		want     string
	}{
		{"none", []Package{none}, "no locked package holds modules"},
		{"two", []Package{one, two}, "hold two"},
		{"module-twice", []Package{twice}, `find module "x_y": got both`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := openDebs(t, dir, tt.packages...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := openKernel(set); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
