package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/tests/cases"
)

const floorAdmissions = 100

// measureFloor compares the decision of create_container with the hand-written comparison, in turn. As for growth, each is
// asked several times without a change of state.
func measureFloor(n int, shared bool) (own, least sample, err error) {
	policy, admission := cases.Sized(n, shared)
	e, err := enforcer.Load(context.Background(), []byte(policy), options())
	if err != nil {
		return nil, nil, err
	}
	f, err := newFloor(policy)
	if err != nil {
		return nil, nil, err
	}
	took := map[string]sample{}
	runtime.GC()
	for i := range floorAdmissions {
		for _, in := range admission(i) {
			d, err := askOften(took, string(in.Point()), e, in, true)
			if err != nil {
				return nil, nil, err
			}
			if create, ok := in.(enforcer.CreateContainerInput); ok {
				each, err := floorCreate(f, n, i, shared, create)
				if err != nil {
					return nil, nil, err
				}
				least.add(each)
			}
			if _, err := d.Commit(); err != nil {
				return nil, nil, err
			}
		}
	}
	return took[string(enforcer.PointCreateContainer)], least, nil
}

// floorCreate asks the floor, after it refused what has to be refused.
func floorCreate(f *floor, n, i int, shared bool, in enforcer.CreateContainerInput) (time.Duration, error) {
	_, admission := cases.Sized(n, shared)
	var layers []string
	for _, step := range admission(i) {
		if disk, ok := step.(enforcer.MountDeviceInput); ok {
			layers = append(layers, disk.DeviceHash)
		}
	}
	f.overlay(in.ContainerID, layers)
	for _, r := range cases.SizedRefusals(n, i, shared) {
		if wrong, ok := r.Input.(enforcer.CreateContainerInput); ok && f.create(&wrong) {
			return 0, fmt.Errorf("the floor allows %s", r.Name)
		}
	}
	allowed := f.create(&in)
	start := time.Now()
	for range growthAsks {
		allowed = f.create(&in)
	}
	each := time.Since(start) / growthAsks
	if !allowed {
		return 0, fmt.Errorf("the floor refuses an admission")
	}
	f.started[in.ContainerID] = true
	return each, nil
}
