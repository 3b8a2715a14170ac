// Command guestcheck takes the agent's place in the development image for one test: it runs as PID 1 after snp-emulator, asks both
// report interfaces through our client and through go-sev-guest's, unmodified, prints a line a check to the console, and switches the
// machine off. "guestcheck: done" is the last line of a run in which every check was made.
package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/client"
	labi "github.com/google/go-sev-guest/client/linuxabi"
	gverify "github.com/google/go-sev-guest/verify"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/snp"
)

func main() {
	fmt.Println("guestcheck: start")
	for _, c := range []struct {
		name string
		run  func() (string, error)
	}{
		{"pid", checkPID},
		{"move root", moveRoot},
		{"open", checkOpen},
		{"ioctl", func() (string, error) { return ours(snp.OpenOptions{TSMRoot: "/nonexistent"}) }},
		{"configfs", func() (string, error) { return ours(snp.OpenOptions{DevicePath: "/nonexistent"}) }},
		{"go-sev-guest ioctl", func() (string, error) { return theirs(&client.LinuxIoctlQuoteProvider{}) }},
		{"go-sev-guest configfs", func() (string, error) { return theirs(&client.LinuxConfigFsQuoteProvider{}) }},
		{"too small buffer", checkSmallBuffer},
		{"derived key", checkDerivedKey},
		{"invalid vmpl", checkVMPL},
		{"unknown ioctl", checkUnknown},
	} {
		said, err := c.run()
		if err != nil {
			fmt.Printf("guestcheck: FAIL %s: %v\n", c.name, err)
			continue
		}
		fmt.Printf("guestcheck: ok %s: %s\n", c.name, said)
	}
	fmt.Println("guestcheck: done")
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("guestcheck: power off:", err)
	}
}

func checkPID() (string, error) {
	if pid := os.Getpid(); pid != 1 {
		return "", fmt.Errorf("got process id %d, want 1", pid)
	}
	up := unix.Timespec{}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return "", err
	}
	return fmt.Sprintf("1, %d ms after the kernel started", up.Nano()/1e6), nil
}

// moveRoot leaves the initramfs the way the agent does: what was mounted before must go on working behind the moved mounts.
func moveRoot() (string, error) {
	if err := os.MkdirAll("/newroot", 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("/", "/newroot", "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("bind: %w", err)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, "/newroot"+dir, "", unix.MS_MOVE, ""); err != nil {
			return "", fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := os.Chdir("/newroot"); err != nil {
		return "", err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return "", fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return "", err
	}
	return "moved", os.Chdir("/")
}

func checkOpen() (string, error) {
	dev, err := snp.Open(context.Background(), snp.OpenOptions{})
	if err != nil {
		return "", err
	}
	if !snp.Present() {
		return "", errors.New("no device is present")
	}
	r, err := snp.Self(context.Background(), dev)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s host_data %x measurement %x", dev, r.HostData, r.Measurement), nil
}

// nonce is different for each call.
func nonce() (n [64]byte) {
	copy(n[:], time.Now().Format(time.RFC3339Nano))
	return n
}

const rounds = 5

func ours(opts snp.OpenOptions) (string, error) {
	dev, err := snp.Open(context.Background(), opts)
	if err != nil {
		return "", err
	}
	var ev snp.Evidence
	took := time.Duration(1<<63 - 1)
	for range rounds {
		n, start := nonce(), time.Now()
		if ev, err = dev.Report(context.Background(), n); err != nil {
			return "", err
		}
		took = min(took, time.Since(start))
		if err := checkReport(ev.Report, ev.Certs, n); err != nil {
			return "", err
		}
	}
	left, err := os.ReadDir("/sys/kernel/config/tsm/report")
	if err != nil {
		return "", err
	}
	if len(left) != 0 {
		return "", fmt.Errorf("got %d configfs entries left behind, want 0", len(left))
	}
	return fmt.Sprintf("%s: %d+%d bytes, best of %d: %s", dev, len(ev.Report), len(ev.Certs), rounds, took.Round(time.Microsecond)), nil
}

// checkReport checks the nonce, and the signature with go-sev-guest's verifier under the VCEK that came along.
func checkReport(report, certs []byte, n [64]byte) error {
	r, err := snp.ParseReport(report)
	if err != nil {
		return err
	}
	if r.ReportData != n {
		return errors.New("the report carries another nonce")
	}
	list, err := snp.ParseCerts(certs)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.GUID != snp.GUIDVCEK {
			continue
		}
		vcek, err := x509.ParseCertificate(c.Data)
		if err != nil {
			return err
		}
		return gverify.SnpReportSignature(report, vcek)
	}
	return errors.New("no VCEK came with the report")
}

func theirs(p client.QuoteProvider) (string, error) {
	if err := flag.Set("self_throttle_duration", "0s"); err != nil {
		return "", err
	}
	if !p.IsSupported() {
		return "", errors.New("the provider says it is not supported")
	}
	n, start := nonce(), time.Now()
	raw, err := p.GetRawQuote(n)
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	if err := checkReport(raw[:abi.ReportSize], raw[abi.ReportSize:], n); err != nil {
		return "", err
	}
	if _, err := abi.ReportCertsToProto(raw); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes in %s", len(raw), took.Round(time.Microsecond)), nil
}

// checkSmallBuffer asks with no room: EIO, the hypervisor's "length", and the size to come back with.
func checkSmallBuffer() (string, error) {
	d, err := client.OpenDevice()
	if err != nil {
		return "", err
	}
	defer d.Close()
	req := labi.SnpExtendedReportReq{}
	guest := &labi.SnpUserGuestRequest{ReqData: &req, RespData: &labi.SnpReportRespABI{}}
	_, err = d.Ioctl(labi.IocSnpGetExtendedReport, guest)
	if !errors.Is(err, unix.EIO) || guest.FwErr != 1<<32 || req.CertsLength == 0 || req.CertsLength%4096 != 0 {
		return "", fmt.Errorf("got %v, exitinfo2 %#x, length %d; want EIO, 1<<32, whole pages", err, guest.FwErr, req.CertsLength)
	}
	need := req.CertsLength
	req.Certs, req.CertsLength = make([]byte, 0x5000), 0x5000
	_, err = d.Ioctl(labi.IocSnpGetExtendedReport, guest)
	if !errors.Is(err, unix.EINVAL) {
		return "", fmt.Errorf("buffer beyond the limit: got %v, want EINVAL", err)
	}
	return fmt.Sprintf("asks for %d bytes", need), nil
}

func checkDerivedKey() (string, error) {
	d, err := client.OpenDevice()
	if err != nil {
		return "", err
	}
	defer d.Close()
	key := func(r *client.SnpDerivedKeyReq) (string, error) {
		resp, err := client.GetDerivedKeyAcknowledgingItsLimitations(d, r)
		if err != nil {
			return "", err
		}
		return hex.EncodeToString(resp.Data[:]), nil
	}
	a, errA := key(&client.SnpDerivedKeyReq{UseVCEK: true})
	b, errB := key(&client.SnpDerivedKeyReq{UseVCEK: true})
	c, errC := key(&client.SnpDerivedKeyReq{UseVCEK: true, GuestFieldSelect: client.GuestFieldSelect{Measurement: true}})
	if err := errors.Join(errA, errB, errC); err != nil {
		return "", err
	}
	if a != b || a == c || strings.Trim(a, "0") == "" {
		return "", errors.New("keys do not depend on the selected fields alone")
	}
	if _, err := key(&client.SnpDerivedKeyReq{UseVCEK: true, GuestSVN: 99}); err == nil {
		return "", errors.New("a key of a newer guest version was given out")
	}
	return "same request same key, other fields other key", nil
}

func checkVMPL() (string, error) {
	d, err := client.OpenDevice()
	if err != nil {
		return "", err
	}
	defer d.Close()
	//lint:ignore SA1019 the deprecated call is the one that lets a level be named directly
	if _, err = client.GetRawReportAtVmpl(d, nonce(), 4); err == nil {
		return "", errors.New("a report for vmpl 4 was given out")
	}
	return err.Error(), nil
}

func checkUnknown() (string, error) {
	fd, err := unix.Open(snp.DefaultDevicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	_, err = unix.IoctlGetInt(fd, 0xC0205303)
	if !errors.Is(err, unix.ENOTTY) {
		return "", fmt.Errorf("got %v, want ENOTTY", err)
	}
	return "ENOTTY", nil
}
