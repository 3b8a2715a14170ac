package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/measure/idblock"
	"github.com/cloister-cc/cloister/snp/measure/measuretest"
)

// measureBench is a directory with an image, firmware and an SVSM.
type measureBench struct {
	dir, guest, firmware, svsm string
	fw                         *measure.Firmware
	hashes                     measure.Hashes
}

func newMeasureBench(t *testing.T) measureBench {
	t.Helper()
	dir := t.TempDir()
	b := measureBench{dir, filepath.Join(dir, "guest"), filepath.Join(dir, "OVMF.fd"), filepath.Join(dir, "svsm.bin"), nil, measure.HashParts([]byte("kernel"), []byte("initrd"), "quiet")}
	files := map[string][]byte{b.firmware: measuretest.AmdSev().Build(), b.svsm: measuretest.SVSM().Build()}
	for name, text := range map[string]string{guest.FileKernel: "kernel", guest.FileInitrd: "initrd", guest.FileCmdline: "quiet"} {
		files[filepath.Join(b.guest, name)] = []byte(text)
	}
	if err := os.Mkdir(b.guest, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, data := range files {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if b.fw, err = measure.ParseFirmware(files[b.firmware]); err != nil {
		t.Fatal(err)
	}
	return b
}

// says runs the program and returns what it printed.
func says(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return strings.TrimSpace(out.String())
}

// TestMeasureLaunch compares the command with the library, for each way to say the same.
func TestMeasureLaunch(t *testing.T) {
	b := newMeasureBench(t)
	seed := b.fw.Digest()
	for _, c := range []struct {
		name   string
		args   []string
		vcpus  int
		launch measure.Launch
	}{
		{"default", nil, 1, measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 1, Kernel: &b.hashes}},
		{"type", []string{"--vcpu-type", "EPYC-Genoa", "--vcpus", "3"}, 3, measure.Launch{VMM: measure.QEMU, CPU: 0xa10f10, GuestFeatures: 1, Kernel: &b.hashes}},
		{"signature", []string{"--vcpu-sig", "0xa10f10"}, 1, measure.Launch{VMM: measure.QEMU, CPU: 0xa10f10, GuestFeatures: 1, Kernel: &b.hashes}},
		{"family", []string{"--vcpu-family", "25", "--vcpu-model", "17", "--vcpu-stepping", "0"}, 1, measure.Launch{VMM: measure.QEMU, CPU: 0xa10f10, GuestFeatures: 1, Kernel: &b.hashes}},
		{"features", []string{"--guest-features", "33"}, 1, measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 0x21, Kernel: &b.hashes}},
		{"fpu", []string{"--no-fpu-state"}, 1, measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 1, NoFPUState: true, Kernel: &b.hashes}},
		{"ovmf-hash", []string{"--ovmf-hash", seed.String()}, 1, measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 1, Kernel: &b.hashes}},
		{"no-kernel", []string{"--no-kernel"}, 1, measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 1}},
		{"ec2-with-kernel", []string{"--vmm", "ec2"}, 1, measure.Launch{VMM: measure.EC2, GuestFeatures: 1, Kernel: &b.hashes}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := c.launch.Digest(b.fw, c.vcpus)
			if err != nil {
				t.Fatal(err)
			}
			image := []string{"--guest", b.guest}
			if slices.Contains(c.args, "--no-kernel") {
				image = nil
			}
			if got := says(t, slices.Concat([]string{"measure", "--firmware", b.firmware}, image, c.args)...); got != want.String() {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	t.Setenv(guestEnv, filepath.Join(b.dir, "absent"))
	gce, err := measure.Launch{VMM: measure.GCE, GuestFeatures: 1}.Digest(b.fw, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := says(t, "measure", "--vmm", "gce", "--firmware", b.firmware); got != gce.String() {
		t.Errorf("gce, no kernel named: got %s, want %s", got, gce)
	}
	if got := says(t, "measure", "--firmware", b.firmware, "--print-ovmf-hash"); got != seed.String() {
		t.Errorf("ovmf hash: got %s, want %s", got, seed)
	}
	svsm, err := measure.ParseFirmware(measuretest.SVSM().Build())
	if err != nil {
		t.Fatal(err)
	}
	under, err := measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 1}.DigestsUnderSVSM(b.fw, measure.SVSM{Image: svsm, VarsSize: 0x84000}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if got := says(t, "measure", "--firmware", b.firmware, "--svsm", b.svsm, "--vars-size", "540672", "--vcpus", "2"); got != under[1].String() {
		t.Errorf("svsm: got %s, want %s", got, under[1])
	}
}

func TestMeasureRange(t *testing.T) {
	b := newMeasureBench(t)
	all, err := measure.Launch{VMM: measure.QEMU, CPU: 0x800f12, GuestFeatures: 1, Kernel: &b.hashes}.Digests(b.fw, 4)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"measure", "--kernel", filepath.Join(b.guest, "vmlinuz"), "--initrd", filepath.Join(b.guest, "initrd.img"), "--cmdline", "quiet", "--firmware", b.firmware, "--vcpus", "2-4"}
	want := "2 " + all[1].String() + "\n3 " + all[2].String() + "\n4 " + all[3].String()
	if got := says(t, args...); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var m measured
	if err := json.Unmarshal([]byte(says(t, append(args, "--json")...)), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Digests) != 3 || m.Digests[0] != (measuredDigest{2, all[1].String()}) || m.Firmware.Size != 4096 || len(m.Firmware.SHA256) != 64 ||
		m.FirmwareDigest != b.fw.Digest().String() || m.Emulated != b.hashes.Emulated().String() || m.VMM != "qemu" || m.CPU != "0x800f12" || m.GuestFeatures != "0x1" || len(m.Cmdline) != 64 {
		t.Errorf("got %+v", m)
	}
}

func TestMeasureUsage(t *testing.T) {
	b := newMeasureBench(t)
	launch := []string{"--guest", b.guest, "--firmware", b.firmware}
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"help":               {[]string{"--help"}, 0},
		"vcpus-alone":        {[]string{"--guest", b.guest, "--vcpus", "2"}, exitUsage},
		"ovmf-hash-alone":    {[]string{"--guest", b.guest, "--print-ovmf-hash"}, exitUsage},
		"nothing":            {[]string{"--no-kernel"}, exitUsage},
		"no kernel of image": {[]string{"--no-kernel", "--guest", "out/guest", "--firmware", "x"}, exitUsage},
		"vcpus-zero":         {append(launch, "--vcpus", "0"), exitUsage},
		"vcpus-backwards":    {append(launch, "--vcpus", "4-2"), exitUsage},
		"vcpus-many":         {append(launch, "--vcpus", "1-513"), exitUsage},
		"vcpus-text":         {append(launch, "--vcpus", "two"), exitUsage},
		"vmm":                {append(launch, "--vmm", "kvm"), exitUsage},
		"type":               {append(launch, "--vcpu-type", "host"), exitUsage},
		"sig":                {append(launch, "--vcpu-sig", "0x1ffffffff"), exitUsage},
		"two-ways":           {append(launch, "--vcpu-sig", "1", "--vcpu-type", "EPYC"), exitUsage},
		"family-alone":       {append(launch, "--vcpu-family", "25"), exitUsage},
		"family-large":       {append(launch, "--vcpu-family", "999", "--vcpu-model", "1", "--vcpu-stepping", "1"), exitUsage},
		"features":           {append(launch, "--guest-features", "x"), exitUsage},
		"ovmf-hash":          {append(launch, "--ovmf-hash", "ab"), exitUsage},
		"vars-size":          {append(launch, "--svsm", b.svsm, "--vars-size", "-1"), exitUsage},
		"kernel-half":        {[]string{"--kernel", "x"}, exitUsage},
		"kernel-and-guest":   {append(launch, "--kernel", "x", "--initrd", "x"), exitUsage},
		"features-without-1": {append(launch, "--guest-features", "0x20"), exitFailed},
		"no-firmware":        {[]string{"--guest", b.guest, "--firmware", filepath.Join(b.dir, "absent")}, exitFailed},
		"not-firmware":       {[]string{"--guest", b.guest, "--firmware", filepath.Join(b.guest, "vmlinuz")}, exitFailed},
		"no-guest":           {[]string{"--guest", filepath.Join(b.dir, "absent")}, exitFailed},
		"svsm-and-kernel":    {append(launch, "--svsm", b.svsm), exitFailed},
		"svsm-is-no-svsm":    {[]string{"--firmware", b.firmware, "--svsm", b.firmware}, exitFailed},
		"svsm-absent":        {[]string{"--firmware", b.firmware, "--svsm", filepath.Join(b.dir, "absent")}, exitFailed},
		"gce-and-kernel":     {append(launch, "--vmm", "gce"), exitFailed},
		"unknown-subcommand": {[]string{"idblock"}, exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t.Context(), append([]string{"measure"}, c.args...)); got != c.want {
				t.Errorf("%q: got exit code %d, want %d", c.args, got, c.want)
			}
		})
	}
}

// keyFile writes a key as OpenSSL does: with the curve's name in a block before it.
func keyFile(t *testing.T, dir, name string, curve elliptic.Curve) (string, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, key
}

func TestMeasureIDBlock(t *testing.T) {
	b := newMeasureBench(t)
	idFile, id := keyFile(t, b.dir, "id.pem", elliptic.P384())
	authorFile, author := keyFile(t, b.dir, "author.pem", elliptic.P384())
	digest := says(t, "measure", "--guest", b.guest, "--firmware", b.firmware)
	out := filepath.Join(b.dir, "id", "2")
	args := []string{"measure", "id-block", "--measurement", digest, "--id-key", idFile, "--author-key", authorFile, "--svn", "3", "--family-id", "0102", "--image-id", "ff", "-o", out}
	text := says(t, args...)
	idDigest, err := idblock.KeyDigest(&id.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	authorDigest, err := idblock.KeyDigest(&author.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{digest, idDigest.String(), authorDigest.String(), "0102" + strings.Repeat("0", 28), "0x30000"} {
		if !strings.Contains(text, want) {
			t.Errorf("got\n%s\nwant it to name %s", text, want)
		}
	}
	if shown := says(t, "measure", "id-block", "show", out); shown != text+"\nsignatures         good" {
		t.Errorf("show: got\n%s\nwant\n%s\nand that the signatures are good", shown, text)
	}
	block, err := os.ReadFile(filepath.Join(out, fileIDBlock))
	if err != nil {
		t.Fatal(err)
	}
	auth, err := os.ReadFile(filepath.Join(out, fileIDAuth))
	if err != nil {
		t.Fatal(err)
	}
	var s shownIDBlock
	if err := json.Unmarshal([]byte(says(t, "measure", "id-block", "show", out, "--json")), &s); err != nil {
		t.Fatal(err)
	}
	if s.IDBlock != base64.StdEncoding.EncodeToString(block) || s.IDAuth != base64.StdEncoding.EncodeToString(auth) || len(block) != 96 || len(auth) != 4096 || s.GuestSVN != 3 || s.AuthorKeyDigest == "" {
		t.Errorf("got %+v of %d and %d bytes", s, len(block), len(auth))
	}
	says(t, args...)
	if again, _ := os.ReadFile(filepath.Join(out, fileIDAuth)); !bytes.Equal(again, auth) {
		t.Error("the same arguments gave another id-auth")
	}
	// A block that somebody changed afterwards is not shown.
	block[0] ^= 1
	if err := os.WriteFile(filepath.Join(out, fileIDBlock), block, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"measure", "id-block", "show", out}); code != exitFailed {
		t.Errorf("changed block: got exit code %d, want %d", code, exitFailed)
	}
}

func TestMeasureIDBlockUsage(t *testing.T) {
	dir := t.TempDir()
	id, _ := keyFile(t, dir, "id.pem", elliptic.P384())
	p256, _ := keyFile(t, dir, "p256.pem", elliptic.P256())
	noKey := filepath.Join(dir, "no.pem")
	encrypted := filepath.Join(dir, "encrypted.pem")
	for path, kind := range map[string]string{noKey: "CERTIFICATE", encrypted: "ENCRYPTED PRIVATE KEY"} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte{1}}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := strings.Repeat("ab", 48)
	base := func(key string, more ...string) []string {
		return append([]string{"measure", "id-block", "--measurement", digest, "--id-key", key, "-o", filepath.Join(dir, "out")}, more...)
	}
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"help":           {[]string{"measure", "id-block", "--help"}, 0},
		"nothing":        {[]string{"measure", "id-block"}, exitUsage},
		"no-output":      {[]string{"measure", "id-block", "--measurement", digest, "--id-key", id}, exitUsage},
		"digest":         {base(id, "--measurement", "ab"), exitUsage},
		"policy":         {base(id, "--policy", "x"), exitUsage},
		"family":         {base(id, "--family-id", "xy"), exitUsage},
		"image-long":     {base(id, "--image-id", strings.Repeat("ab", 17)), exitUsage},
		"show-nothing":   {[]string{"measure", "id-block", "show"}, exitUsage},
		"policy-refused": {base(id, "--policy", "0x10000"), exitUsage},
		"key-absent":     {base(filepath.Join(dir, "absent")), exitFailed},
		"key-curve":      {base(p256), exitFailed},
		"key-none":       {base(noKey), exitFailed},
		"key-encrypted":  {base(encrypted), exitFailed},
		"author-absent":  {base(id, "--author-key", filepath.Join(dir, "absent")), exitFailed},
		"show-absent":    {[]string{"measure", "id-block", "show", dir}, exitFailed},
		"fine":           {base(id), 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t.Context(), c.args); got != c.want {
				t.Errorf("got exit code %d, want %d", got, c.want)
			}
		})
	}
}
