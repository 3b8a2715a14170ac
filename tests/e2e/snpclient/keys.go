package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/go-sev-guest/client"

	"github.com/cloister-cc/cloister/snp"
)

// keys asks both clients for the same derived keys.
func keys(ctx context.Context, _ int) result {
	dev, err := snp.Open(ctx, snp.OpenOptions{})
	if err != nil {
		return result{Opened: kind(err) + ": " + err.Error()}
	}
	r := result{Opened: dev.String()}
	err = compareKeys(ctx, dev)
	if err = errors.Join(err, dev.Close()); err != nil {
		r.Keys = kind(err) + ": " + err.Error()
		return r
	}
	r.Keys = "equal"
	return r
}

func compareKeys(ctx context.Context, dev *snp.Guest) error {
	their, err := client.OpenDevice()
	if err != nil {
		_, own := dev.DerivedKey(ctx, snp.DerivedKeyRequest{})
		return errors.Join(own, err)
	}
	defer their.Close()
	seen := map[[32]byte]int{}
	for i, c := range []struct {
		our   snp.DerivedKeyRequest
		their client.SnpDerivedKeyReq
	}{
		{snp.DerivedKeyRequest{}, client.SnpDerivedKeyReq{UseVCEK: true}},
		{snp.DerivedKeyRequest{Root: snp.RootVM}, client.SnpDerivedKeyReq{}},
		{
			snp.DerivedKeyRequest{Fields: snp.KeyPolicy | snp.KeyImageID | snp.KeyFamilyID | snp.KeyMeasurement},
			client.SnpDerivedKeyReq{UseVCEK: true, GuestFieldSelect: client.GuestFieldSelect{
				GuestPolicy: true, ImageID: true, FamilyID: true, Measurement: true,
			}},
		},
		{
			snp.DerivedKeyRequest{Fields: snp.KeyTCB | snp.KeyGuestSVN, TCB: snp.TCB{1}, GuestSVN: 0},
			client.SnpDerivedKeyReq{UseVCEK: true, GuestFieldSelect: client.GuestFieldSelect{TCBVersion: true, GuestSVN: true}, TCBVersion: 1},
		},
	} {
		key, err := dev.DerivedKey(ctx, c.our)
		if err != nil {
			return err
		}
		resp, err := client.GetDerivedKeyAcknowledgingItsLimitations(their, &c.their)
		if err != nil {
			return err
		}
		if !bytes.Equal(key[:], resp.Data[:]) {
			return fmt.Errorf("key %d: the clients got different ones", i)
		}
		if other, dup := seen[key]; dup {
			return fmt.Errorf("keys %d and %d are the same", other, i)
		}
		seen[key] = i
	}
	return nil
}
