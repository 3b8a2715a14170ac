package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
	"github.com/cloister-cc/cloister/tests/reference/peer"
)

// judge is one enforcer with a policy. prepare does what is not to be measured; the function it returns decides, and changes
// the state when it allows.
type judge interface {
	prepare(in enforcer.Input) (func() (allowed bool, err error), error)
}

func options() enforcer.Options {
	return enforcer.Options{
		DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts(), PolicyLimit: enforcer.MaxPolicyLimit,
	}
}

type ours struct{ e *enforcer.Enforcer }

func loadOurs(policy string) (judge, error) {
	e, err := enforcer.Load(context.Background(), []byte(policy), options())
	return ours{e}, err
}

func (o ours) prepare(in enforcer.Input) (func() (bool, error), error) {
	ctx := context.Background()
	return func() (bool, error) {
		d, err := o.e.Decide(ctx, in)
		if err != nil {
			if denial := (*enforcer.Denial)(nil); errors.As(err, &denial) {
				return false, nil
			}
			return false, err
		}
		_, err = d.Commit()
		return true, err
	}, nil
}

type theirs struct{ p *peer.Peer }

func loadTheirs(policy string) (judge, error) {
	p, err := peer.Load(policy, aci.DefaultMounts(), aci.PrivilegedMounts())
	return theirs{p}, err
}

func (t theirs) prepare(in enforcer.Input) (func() (bool, error), error) {
	ask, err := t.p.Prepare(in)
	if err != nil {
		return nil, err
	}
	return func() (bool, error) {
		_, err := ask(context.Background())
		return err == nil, nil
	}, nil
}

// decide asks and holds the answer to what it has to be: a measurement of wrong answers is worth nothing.
func decide(j judge, in enforcer.Input, want bool) (func() error, error) {
	ask, err := j.prepare(in)
	if err != nil {
		return nil, err
	}
	return func() error {
		allowed, err := ask()
		if err == nil && allowed != want {
			err = fmt.Errorf("%s: got allowed %t, want %t", in.Point(), allowed, want)
		}
		return err
	}, nil
}
