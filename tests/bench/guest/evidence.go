package main

import (
	"context"
	"crypto/sha512"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/google/go-sev-guest/client"
	"github.com/google/go-sev-guest/client/linuxabi"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/tests/bench/ask"
	"github.com/cloister-cc/cloister/tests/bench/wire"
)

// evidence asks the report device in turn: with one ioctl, and as a container asks the broker. One round before the others is thrown away. Every question has
// a nonce of its own.
func (a *agent) evidence(ctx context.Context, rounds int) (out []wire.Evidence, err error) {
	device, err := snp.Open(ctx, snp.OpenOptions{})
	if err != nil {
		return nil, err
	}
	const dir = "/run/evidence"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	at, err := ask.Listen(ctx, device, string(a.config.Gate.Policy().Text), dir)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	conn, err := at.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The library waits two seconds between requests unless it is told not to: what is wanted is the bare device.
	if err := flag.Set("self_throttle_duration", "0s"); err != nil {
		return nil, err
	}
	bare := &client.LinuxDevice{}
	if err := bare.Open(snp.DefaultDevicePath); err != nil {
		return nil, err
	}
	defer bare.Close()
	for i := range rounds + 1 {
		var r wire.Evidence
		if r.Ioctl, err = ioctl(bare, i); err != nil {
			return nil, fmt.Errorf("round %d: %w", i, err)
		}
		begin := time.Now()
		if err := conn.Ask(i); err != nil {
			return nil, fmt.Errorf("round %d: %w", i, err)
		}
		if r.Evidence = time.Since(begin); i > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

// certsRoom is what the kernel allows for the host's certificates, in bytes.
const certsRoom = 4 * 4096

// ioctl is one SNP_GET_EXT_REPORT with room enough.
func ioctl(d *client.LinuxDevice, n int) (time.Duration, error) {
	data := sha512.Sum512(binary.BigEndian.AppendUint64(nil, uint64(n)))
	var answer linuxabi.SnpReportRespABI
	request := &linuxabi.SnpUserGuestRequest{
		ReqData: &linuxabi.SnpExtendedReportReq{
			Data: linuxabi.SnpReportReqABI{ReportData: data}, Certs: make([]byte, certsRoom), CertsLength: certsRoom,
		},
		RespData: &answer,
	}
	begin := time.Now()
	_, err := d.Ioctl(linuxabi.IocSnpGetExtendedReport, request)
	return time.Since(begin), err
}
