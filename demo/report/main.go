// Command report runs inside a container of the demo. It asks the agent, over the socket that the pod's policy grants, for a
// report over a nonce, and prints the evidence as the bundle that "cloister attest verify" reads.
//
//	report --nonce HEX [--socket PATH] [--bundle]
//
// Standard output belongs to the host like every log of a container. That is no loss: evidence is public, and whoever
// verifies it trusts the signature and the nonce, not the way it came.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cloister-cc/cloister/snp"
)

// Lines around the bundle, so that it can be cut out of a log.
const (
	beginMark = "-----BEGIN CLOISTER EVIDENCE-----"
	endMark   = "-----END CLOISTER EVIDENCE-----"
)

// timeout is generous: under emulation the agent's first report takes seconds.
const timeout = 60 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdin, os.Stdout, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "report: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, stdin io.Reader, stdout io.Writer, args []string) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	nonceHex := flags.String("nonce", "", "nonce of the verifier, in hex; - reads it from standard input")
	socket := flags.String("socket", "/run/cloister/attest", "socket of the agent, or the directory it is in")
	bare := flags.Bool("bundle", false, "print the bundle only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	nonce, err := readNonce(stdin, *nonceHex)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	evidence, err := fetch(ctx, *socket, nonce)
	if err != nil {
		return err
	}
	report, err := snp.ParseReport(evidence.Report)
	if err != nil {
		return err
	}
	if err := checkNonce(report, nonce); err != nil {
		return err
	}
	bundle, err := snp.NewBundle(evidence).Marshal()
	if err != nil {
		return err
	}
	if *bare {
		_, err = stdout.Write(bundle)
		return err
	}
	_, err = fmt.Fprintf(stdout, "HOST_DATA   %x\nMEASUREMENT %x\nREPORT_DATA %x\n%s\n%s%s\n",
		report.HostData, report.Measurement, report.ReportData, beginMark, bundle, endMark)
	return err
}

// readNonce takes 16 to 64 bytes: shorter ones repeat, longer ones are a mistake.
func readNonce(stdin io.Reader, text string) ([]byte, error) {
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, 256))
		if err != nil {
			return nil, err
		}
		text = strings.TrimSpace(string(data))
	}
	nonce, err := hex.DecodeString(text)
	if err != nil {
		return nil, errors.New("nonce is not hex")
	}
	if len(nonce) < 16 || len(nonce) > 64 {
		return nil, fmt.Errorf("nonce has %d bytes, want 16 to 64", len(nonce))
	}
	return nonce, nil
}
