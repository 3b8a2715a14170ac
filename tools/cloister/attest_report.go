package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/agent/api"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// reportData is the rule by which REPORT_DATA is made of a nonce.
type reportData string

const (
	reportDataSHA256 reportData = "sha256" // SHA-256(nonce), then 32 zero bytes
	reportDataRaw    reportData = "raw"    // the nonce itself, then zero bytes
	reportDataHost   reportData = "host"   // as agents do for the host: a label goes before the nonce
)

const reportDataHelp = `how REPORT_DATA is made of the nonce: "sha256" (SHA-256 of it, then 32 zero bytes; what /attest/raw does for workloads), "host" (what an agent does for its host: a label before the nonce) or "raw" (the nonce itself, then zero bytes)`

// nonce bounds: one that is short can repeat; REPORT_DATA has 64 bytes.
const (
	minNonce = 16
	maxNonce = 64
)

func (r reportData) of(nonce []byte) (data [64]byte, err error) {
	switch r {
	case reportDataSHA256:
		data = snp.HashedReportData(nonce)
	case reportDataHost:
		data = snp.HostReportData(nonce)
	case reportDataRaw:
		copy(data[:], nonce)
	default:
		return data, &usageError{fmt.Errorf("--report-data: got %q, want sha256, host or raw", string(r))}
	}
	return data, nil
}

func parseNonce(text string) ([]byte, error) {
	if text == "" {
		return nil, &usageError{errors.New("no nonce given (--nonce HEX): a report over nothing could be an old one")}
	}
	nonce, err := hex.DecodeString(text)
	if err != nil || len(nonce) < minNonce || len(nonce) > maxNonce {
		return nil, &usageError{fmt.Errorf("--nonce: got %.140q, want %d to %d bytes in hex", text, minNonce, maxNonce)}
	}
	return nonce, nil
}

// attestReport is one use of "attest report".
type attestReport struct {
	nonce, data, agent, pod, stateDir, device, tsm, out string
}

func newAttestReportCommand() *cobra.Command {
	var a attestReport
	cmd := &cobra.Command{
		Use:   "report --nonce HEX",
		Short: "Ask for a report over a nonce and write the evidence bundle",
		Long: `Report asks this machine's SNP device for a report or, with --agent or --pod, the agent of a utility VM, and writes the
evidence bundle: report, certificates and, from an agent, the policy that HOST_DATA binds. On this machine the device is
/dev/sev-guest where there is one, else configfs-tsm.`,
		Example: `  cloister attest report --nonce $(openssl rand -hex 32) -o bundle.json
  cloister attest report --nonce $(openssl rand -hex 32) --pod demo -o bundle.json
  cloister attest report --nonce $(openssl rand -hex 32) --agent unix:///run/cloister/agent.sock`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&a.nonce, "nonce", "", "16 to 64 bytes in hex, chosen by whoever will verify")
	f.StringVar(&a.data, "report-data", string(reportDataSHA256), reportDataHelp+"; with --agent or --pod it is host")
	f.StringVar(&a.agent, "agent", "", "address of an agent: unix://PATH")
	f.StringVar(&a.pod, "pod", "", "name of a pod that \"cloister run\" runs")
	f.StringVar(&a.stateDir, "state-dir", "", "directory of the pod's VM, as given to run")
	f.StringVar(&a.device, "device", "", "report device (default "+snp.DefaultDevicePath+")")
	f.StringVar(&a.tsm, "tsm", "", "root of configfs-tsm (default "+snp.DefaultTSMRoot+")")
	f.StringVarP(&a.out, "output", "o", "", "file to write (default: standard output)")
	return cmd
}

func (a *attestReport) run(cmd *cobra.Command) error {
	nonce, err := parseNonce(a.nonce)
	if err != nil {
		return err
	}
	data, err := reportData(a.data).of(nonce)
	if err != nil {
		return err
	}
	var bundle []byte
	fromAgent := a.agent != "" || a.pod != "" || a.stateDir != ""
	switch {
	case fromAgent && cmd.Flags().Changed("report-data") && reportData(a.data) != reportDataHost:
		return &usageError{errors.New("attest report: an agent makes REPORT_DATA itself, as --report-data host does")}
	case fromAgent:
		bundle, err = a.fromAgent(cmd.Context(), nonce)
	default:
		bundle, err = a.fromDevice(cmd, data)
	}
	if err != nil {
		return err
	}
	if a.out == "" {
		_, err = cmd.OutOrStdout().Write(bundle)
	} else {
		err = os.WriteFile(a.out, bundle, 0o644)
	}
	if err != nil {
		return err
	}
	if fromAgent {
		fmt.Fprintf(cmd.ErrOrStderr(), "cloister: verify with: %s\n", verifyHint(orElse(a.out, "BUNDLE"), nonce, bundle))
	}
	return nil
}

// verifyHint is the command that verifies a bundle, with as much of it as is known here.
func verifyHint(name string, nonce, bundle []byte) string {
	image := guestDir(os.Getenv(guestEnv))
	if _, err := imageHashes(image); err != nil {
		image = "DIR"
	}
	hint := fmt.Sprintf("cloister attest verify %s --report-data host --nonce %x --policy FILE --guest %s", name, nonce, image)
	b, err := snp.ParseBundle(bundle)
	if err != nil || !emulated(&verify.Evidence{Table: b.Certs}) {
		return hint
	}
	roots := "DIR"
	if dir, err := authorityDir(""); err == nil {
		if a, err := emulator.Load(dir); err == nil {
			roots = a.RootsDir()
		}
	}
	return hint + " --roots " + roots
}

func (a *attestReport) fromDevice(cmd *cobra.Command, data [64]byte) ([]byte, error) {
	dev, err := snp.Open(cmd.Context(), snp.OpenOptions{DevicePath: a.device, TSMRoot: a.tsm})
	if errors.Is(err, snp.ErrNoDevice) {
		return nil, fmt.Errorf("%w (this machine is no SNP guest; ask an agent with --pod or --agent)", err)
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "cloister: asking %s\n", dev)
	ev, err := dev.Report(cmd.Context(), data)
	if err != nil {
		return nil, err
	}
	return snp.NewBundle(ev).Marshal()
}

func (a *attestReport) fromAgent(ctx context.Context, nonce []byte) ([]byte, error) {
	client, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := client.Cloister.Evidence(ctx, &api.EvidenceRequest{Nonce: nonce})
	if err != nil {
		return nil, fmt.Errorf("ask agent for evidence: %w", err)
	}
	return answer.Bundle, nil
}

func (a *attestReport) dial(ctx context.Context) (*podrun.Client, error) {
	if a.agent != "" {
		path, ok := strings.CutPrefix(a.agent, "unix://")
		if !ok || !filepath.IsAbs(path) || a.pod != "" || a.stateDir != "" {
			return nil, &usageError{fmt.Errorf("attest report: --agent: got %q, want unix:///ABSOLUTE/PATH, and neither --pod nor --state-dir", a.agent)}
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return podrun.NewClient(conn), nil
	}
	dir := a.stateDir
	if dir == "" {
		var err error
		if dir, err = podrun.StateDir(a.pod); err != nil {
			return nil, &usageError{err}
		}
	}
	if _, err := readState(dir); err != nil {
		return nil, err
	}
	return dialFreePort(ctx, dir)
}
