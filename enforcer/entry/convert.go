package entry

import (
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// shapeError says in what a value differs from what the entries can hold.
type shapeError string

func (e shapeError) Error() string { return string(e) }

func shapef(format string, args ...any) error { return shapeError(fmt.Sprintf(format, args...)) }

// converter makes entries of values of the engine: ground ones, from the syntax tree or an evaluation. What an entry cannot
// hold exactly is an error.
type converter struct {
	strings      map[string]string
	envRules     map[EnvRule]*EnvRule
	mounts       map[string]*Mount
	processes    map[string]*ExecProcess
	users        map[string]*User
	capabilities map[string]*Capabilities
}

func newConverter() *converter {
	return &converter{
		strings: map[string]string{}, envRules: map[EnvRule]*EnvRule{}, mounts: map[string]*Mount{},
		processes: map[string]*ExecProcess{}, users: map[string]*User{}, capabilities: map[string]*Capabilities{},
	}
}

// Containers converts a list of containers.
func Containers(v ast.Value) ([]*Container, error) {
	list, err := elements(v, newConverter().container)
	for i, c := range list {
		c.Index = i
	}
	return list, err
}

// ExternalProcesses converts a list of external processes.
func ExternalProcesses(v ast.Value) ([]*ExternalProcess, error) {
	return elements(v, newConverter().externalProcess)
}

// Fragments converts a list of fragments.
func Fragments(v ast.Value) ([]*Fragment, error) { return elements(v, newConverter().fragment) }

// PlatformRules converts a list of platform rules.
func PlatformRules(v ast.Value) ([]*PlatformRule, error) {
	return elements(v, newConverter().platformRule)
}

// TrustLists converts a list of transparency trust lists.
func TrustLists(v ast.Value) ([]*TrustList, error) { return elements(v, newConverter().trustList) }

func (c *converter) container(v ast.Value) (*Container, error) {
	out := &Container{}
	err := members(v, func(key string, v ast.Value) error {
		field, known := containerField(key)
		if !known {
			return errUnknownKey
		}
		out.Present |= field
		return c.containerMember(out, field, v)
	})
	return out, err
}

func (c *converter) containerMember(out *Container, field Fields, v ast.Value) (err error) {
	_, null := v.(ast.Null)
	switch field {
	case FieldID:
		out.ID, err = c.string(v)
	case FieldName:
		out.Name, err = c.string(v)
	case FieldCommand:
		if null {
			out.CommandNull = true
			return nil
		}
		out.Command, err = elements(v, c.string)
	case FieldEnvRules:
		out.EnvRules, err = elements(v, c.envRule)
	case FieldLayers:
		out.Layers, err = elements(v, c.string)
	case FieldMounts:
		out.Mounts, err = elements(v, c.mount)
	case FieldExecProcesses:
		out.ExecProcesses, err = elements(v, c.execProcess)
	case FieldSignals:
		out.Signals, err = elements(v, integer)
	case FieldUser:
		out.User, err = shared(v, c.users, c.user)
	case FieldCapabilities:
		if null {
			return nil
		}
		out.Capabilities, err = shared(v, c.capabilities, c.capabilitySets)
	case FieldSeccomp:
		out.SeccompProfileSHA256, err = c.string(v)
	case FieldWorkingDir:
		out.WorkingDir, err = c.string(v)
	case FieldAllowElevated:
		out.AllowElevated, err = boolean(v)
	case FieldAllowStdioAccess:
		out.AllowStdioAccess, err = boolean(v)
	case FieldNoNewPrivileges:
		out.NoNewPrivileges, err = boolean(v)
	}
	return err
}

func (c *converter) envRule(v ast.Value) (*EnvRule, error) {
	var e EnvRule
	var seen envFields
	err := members(v, func(key string, v ast.Value) (err error) {
		field, known := envField(key)
		if !known {
			return errUnknownKey
		}
		seen |= field
		if field == envRequired {
			e.HasRequired = true
			e.Required, err = boolean(v)
			return err
		}
		*e.member(field), err = c.string(v)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !e.complete(seen) {
		return nil, shapeError("half a constraint")
	}
	if c.envRules[e] == nil {
		c.envRules[e] = &e
	}
	return c.envRules[e], nil
}

func (c *converter) mount(v ast.Value) (*Mount, error) {
	return shared(v, c.mounts, func(v ast.Value) (*Mount, error) {
		m := &Mount{}
		return m, record(v, map[string]func(ast.Value) error{
			"destination": into(&m.Destination, c.string),
			"source":      into(&m.Source, c.string),
			"options":     list(&m.Options, c.string),
			"type":        into(&m.Type, c.string),
		})
	})
}

func (c *converter) execProcess(v ast.Value) (*ExecProcess, error) {
	return shared(v, c.processes, func(v ast.Value) (*ExecProcess, error) {
		p := &ExecProcess{}
		return p, record(v, map[string]func(ast.Value) error{
			"command": list(&p.Command, c.string),
			"signals": list(&p.Signals, integer),
		})
	})
}

func (c *converter) user(v ast.Value) (*User, error) {
	u := &User{}
	return u, record(v, map[string]func(ast.Value) error{
		"user_idname":   into(&u.UserIDName, c.idName),
		"group_idnames": list(&u.GroupIDNames, c.idName),
		"umask":         into(&u.Umask, c.string),
	})
}

func (c *converter) idName(v ast.Value) (IDName, error) {
	var n IDName
	err := record(v, map[string]func(ast.Value) error{
		"pattern":  into(&n.Pattern, c.string),
		"strategy": into(&n.Strategy, c.string),
	})
	return n, err
}

func (c *converter) capabilitySets(v ast.Value) (*Capabilities, error) {
	sets := &Capabilities{}
	return sets, record(v, map[string]func(ast.Value) error{
		"bounding":    list(&sets.Bounding, c.string),
		"effective":   list(&sets.Effective, c.string),
		"inheritable": list(&sets.Inheritable, c.string),
		"permitted":   list(&sets.Permitted, c.string),
		"ambient":     list(&sets.Ambient, c.string),
	})
}

func (c *converter) externalProcess(v ast.Value) (*ExternalProcess, error) {
	p := &ExternalProcess{}
	return p, record(v, map[string]func(ast.Value) error{
		"command":            list(&p.Command, c.string),
		"env_rules":          list(&p.EnvRules, c.envRule),
		"working_dir":        into(&p.WorkingDir, c.string),
		"allow_stdio_access": into(&p.AllowStdioAccess, boolean),
	})
}

func (c *converter) fragment(v ast.Value) (*Fragment, error) {
	f := &Fragment{}
	return f, record(v, map[string]func(ast.Value) error{
		"issuer": into(&f.Issuer, c.string),
		"feed":   into(&f.Feed, c.string),
		"minimum_svn": func(v ast.Value) (err error) {
			var n int64
			if _, f.MinimumNumber = v.(ast.Number); f.MinimumNumber {
				n, err = integer(v)
				f.MinimumSVN = strconv.FormatInt(n, 10)
				return err
			}
			f.MinimumSVN, err = c.string(v)
			return err
		},
		"includes": list(&f.Includes, c.string),
	}, map[string]func(ast.Value) error{
		"required_receipts": list(&f.RequiredReceipts, c.string),
		"parameters": func(v ast.Value) error {
			f.Parameterized, f.Parameters = true, v
			return constantObject(v)
		},
	})
}

func (c *converter) platformRule(v ast.Value) (*PlatformRule, error) {
	p := &PlatformRule{}
	return p, record(v, nil, map[string]func(ast.Value) error{
		"env_rules": list(&p.EnvRules, c.envRule),
		"mounts":    list(&p.Mounts, c.mount),
	})
}

func (c *converter) trustList(v ast.Value) (*TrustList, error) {
	t := &TrustList{}
	return t, record(v, map[string]func(ast.Value) error{
		"issuer":          into(&t.Issuer, c.string),
		"subject":         into(&t.Subject, c.string),
		"minimum_svn":     into(&t.MinimumSVN, integer),
		"allowed_ledgers": list(&t.AllowedLedgers, c.string),
	})
}

// string shares equal strings and copies them, so that none keeps a text alive.
func (c *converter) string(v ast.Value) (string, error) {
	s, ok := v.(ast.String)
	if !ok {
		return "", shapef("is %s, not a string", ast.ValueName(v))
	}
	return c.intern(string(s)), nil
}
