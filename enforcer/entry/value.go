package entry

import (
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The way back: what an entry was read from, as the engine has it.

// Value is the container as the policy has it, with the fields that are present.
func (c *Container) Value() ast.Value {
	items := make([][2]*ast.Term, 0, len(containerKeys))
	for _, k := range containerKeys {
		if c.Present&k.field != 0 {
			items = append(items, item(k.key, c.fieldValue(k.field)))
		}
	}
	return ast.NewObject(items...)
}

func (c *Container) fieldValue(field Fields) ast.Value {
	switch field {
	case FieldID:
		return ast.String(c.ID)
	case FieldName:
		return ast.String(c.Name)
	case FieldCommand:
		if c.CommandNull {
			return ast.Null{}
		}
		return stringArray(c.Command)
	case FieldEnvRules:
		return arrayOf(c.EnvRules, EnvRuleValue)
	case FieldLayers:
		return stringArray(c.Layers)
	case FieldMounts:
		return arrayOf(c.Mounts, MountValue)
	case FieldExecProcesses:
		return arrayOf(c.ExecProcesses, (*ExecProcess).Value)
	case FieldSignals:
		return arrayOf(c.Signals, number)
	case FieldUser:
		return c.User.Value()
	case FieldCapabilities:
		if c.Capabilities == nil {
			return ast.Null{}
		}
		return c.Capabilities.Value()
	case FieldSeccomp:
		return ast.String(c.SeccompProfileSHA256)
	case FieldWorkingDir:
		return ast.String(c.WorkingDir)
	case FieldAllowElevated:
		return ast.Boolean(c.AllowElevated)
	case FieldAllowStdioAccess:
		return ast.Boolean(c.AllowStdioAccess)
	}
	return ast.Boolean(c.NoNewPrivileges)
}

// EnvRuleValue is an environment rule as a policy has it. It is no method because the rule has a field of that name.
func EnvRuleValue(e *EnvRule) ast.Value {
	var items [][2]*ast.Term
	if e.Whole {
		items = append(items, item("pattern", ast.String(e.Pattern)), item("strategy", ast.String(e.Strategy)))
	}
	if e.Split {
		items = append(items,
			item("name", ast.String(e.Name)), item("name_strategy", ast.String(e.NameStrategy)),
			item("value", ast.String(e.Value)), item("value_strategy", ast.String(e.ValueStrategy)))
	}
	if e.HasRequired {
		items = append(items, item("required", ast.Boolean(e.Required)))
	}
	return ast.NewObject(items...)
}

// MountValue is a mount as a policy has it.
func MountValue(m *Mount) ast.Value {
	return ast.NewObject(
		item("destination", ast.String(m.Destination)), item("source", ast.String(m.Source)),
		item("options", stringArray(m.Options)), item("type", ast.String(m.Type)))
}

// Value is the process as the policy has it.
func (p *ExecProcess) Value() ast.Value {
	return ast.NewObject(item("command", stringArray(p.Command)), item("signals", arrayOf(p.Signals, number)))
}

// Value is the user as the policy has it.
func (u *User) Value() ast.Value {
	return ast.NewObject(
		item("user_idname", u.UserIDName.Value()), item("group_idnames", arrayOf(u.GroupIDNames, IDName.Value)),
		item("umask", ast.String(u.Umask)))
}

// Value is the constraint as the policy has it.
func (n IDName) Value() ast.Value {
	return ast.NewObject(item("pattern", ast.String(n.Pattern)), item("strategy", ast.String(n.Strategy)))
}

// Value is the five sets as the policy has them.
func (c *Capabilities) Value() ast.Value {
	return ast.NewObject(
		item("bounding", stringArray(c.Bounding)), item("effective", stringArray(c.Effective)),
		item("inheritable", stringArray(c.Inheritable)), item("permitted", stringArray(c.Permitted)),
		item("ambient", stringArray(c.Ambient)))
}

// Value is the process as the policy has it.
func (p *ExternalProcess) Value() ast.Value {
	return ast.NewObject(
		item("command", stringArray(p.Command)), item("env_rules", arrayOf(p.EnvRules, EnvRuleValue)),
		item("working_dir", ast.String(p.WorkingDir)), item("allow_stdio_access", ast.Boolean(p.AllowStdioAccess)))
}

// Value is the fragment as the policy has it.
func (f *Fragment) Value() ast.Value {
	svn := ast.Value(ast.String(f.MinimumSVN))
	if f.MinimumNumber {
		svn = ast.Number(f.MinimumSVN)
	}
	items := [][2]*ast.Term{
		item("issuer", ast.String(f.Issuer)), item("feed", ast.String(f.Feed)), item("minimum_svn", svn),
		item("includes", stringArray(f.Includes)),
	}
	if f.RequiredReceipts != nil {
		items = append(items, item("required_receipts", stringArray(f.RequiredReceipts)))
	}
	if f.Parameterized {
		items = append(items, item("parameters", f.Parameters))
	}
	return ast.NewObject(items...)
}

// Value is the rule as the policy has it.
func (p *PlatformRule) Value() ast.Value {
	var items [][2]*ast.Term
	if p.EnvRules != nil {
		items = append(items, item("env_rules", arrayOf(p.EnvRules, EnvRuleValue)))
	}
	if p.Mounts != nil {
		items = append(items, item("mounts", arrayOf(p.Mounts, MountValue)))
	}
	return ast.NewObject(items...)
}

// Value is the trust list as the policy has it.
func (t *TrustList) Value() ast.Value {
	return ast.NewObject(
		item("issuer", ast.String(t.Issuer)), item("subject", ast.String(t.Subject)),
		item("minimum_svn", number(t.MinimumSVN)), item("allowed_ledgers", stringArray(t.AllowedLedgers)))
}

func item(key string, v ast.Value) [2]*ast.Term {
	return [2]*ast.Term{ast.InternedTerm(key), ast.NewTerm(v)}
}

func number(n int64) ast.Value { return ast.Number(strconv.FormatInt(n, 10)) }

func stringArray(list []string) ast.Value {
	return arrayOf(list, func(s string) ast.Value { return ast.String(s) })
}

func arrayOf[T any](list []T, value func(T) ast.Value) ast.Value {
	terms := make([]*ast.Term, len(list))
	for i, x := range list {
		terms[i] = ast.NewTerm(value(x))
	}
	return ast.NewArray(terms...)
}
