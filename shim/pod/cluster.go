package pod

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Cluster is what surrounds a pod that Kubernetes starts, as far as documents tell it.
type Cluster struct {
	// Namespace is where the pod will be, "" when no document says.
	Namespace string
	// PodName is the pod's name, Hostname its host name: texts where the document gives them, patterns where a controller makes them.
	PodName, Hostname Text
	// ConfigMaps and Secrets are those of the pod's namespace that are at hand, by name: key to value.
	ConfigMaps, Secrets map[string]map[string]string
	// Automount has the service accounts that say whether their token is mounted.
	Automount map[string]bool
	// CompletionIndex says that an indexed Job adds its variable.
	CompletionIndex bool
	// Hidden are annotations that are written after the policy: a variable cannot be made of them.
	Hidden []string
	// Seccomp has the SHA-256, in hex, of each seccomp profile that the runtime sends, by "RuntimeDefault" or the
	// localhostProfile; "" is a profile that it is known not to send.
	Seccomp map[string]string
}

// Text is a string that is known, or the RE2 pattern of one that a cluster makes at run time.
type Text struct {
	Value   string
	Pattern string // not empty: the value is known at run time only
}

// Literal is a text that is known.
func Literal(value string) Text { return Text{Value: value} }

// Pattern is a text that is not.
func Pattern(re2 string) Text { return Text{Pattern: re2} }

func (t Text) known() bool { return t.Pattern == "" }

// regexp is the pattern of a text in any case, fit to stand in a longer one.
func (t Text) regexp() string {
	switch {
	case t.known():
		return regexp.QuoteMeta(t.Value)
	case strings.ContainsRune(t.Pattern, '|'):
		return "(?:" + t.Pattern + ")"
	}
	return t.Pattern
}

// What Kubernetes makes. The patterns are exact where the thing has a grammar: a rule is only worth what it keeps out.
const (
	patternIPv4   = `(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])`
	patternIPv6   = `[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}`
	patternIP     = patternIPv4 + `|` + patternIPv6
	patternIPs    = `(?:` + patternIP + `)(?:,(?:` + patternIP + `))?`
	patternUID    = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	patternLabel  = `[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?`
	patternDNS    = `[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?`
	patternNumber = `0|[1-9][0-9]{0,18}`
	patternIndex  = `0|[1-9][0-9]{0,9}`
	patternPort   = `[1-9][0-9]{0,4}`
	patternValue  = `(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?` // of a label

	// suffixLetters are those of generated names and of a Deployment's hash.
	suffixLetters = `[bcdfghjklmnpqrstvwxz2456789]`
	// maxGeneratedPrefix is how much of a prefix generated names keep, so that they are host names.
	maxGeneratedPrefix = 58
)

// GeneratedName is a name that the API server makes of a prefix.
func GeneratedName(prefix Text) Text {
	if prefix.known() && len(prefix.Value) > maxGeneratedPrefix {
		prefix.Value = prefix.Value[:maxGeneratedPrefix]
	}
	return Pattern(prefix.regexp() + suffixLetters + `{5}`)
}

// DeploymentPodName is the name of a Deployment's pods: the name, a hash of the template, five letters. Long names are cut.
func DeploymentPodName(name string) Text {
	room := maxGeneratedPrefix - len(name) - len("-")
	switch {
	case room <= 0:
		return GeneratedName(Literal(name + "-"))
	case room <= 10: // the cut may fall into the hash, or behind it
		return Pattern(regexp.QuoteMeta(name) + "-" + suffixLetters + "{1," + itoa(room) + "}-?" + suffixLetters + "{5}")
	}
	return Pattern(regexp.QuoteMeta(name) + "-" + suffixLetters + "{1,10}-" + suffixLetters + "{5}")
}

// OrdinalName is a name followed by a number: of a StatefulSet's pod, or the host name of an indexed Job's.
func OrdinalName(name Text) Text {
	return Pattern(name.regexp() + `-(?:` + patternIndex + `)`)
}

// CronJobJobName is the name of the Jobs of a CronJob: minutes since 1970.
func CronJobJobName(name string) Text { return Pattern(regexp.QuoteMeta(name) + `-[0-9]{8}`) }

// JobPodName is the name of a Job's pods; an index is in it where the Job counts them. Names that the API server would cut
// (more than 58 bytes before the five letters) are not for this function.
func JobPodName(job Text, indexed bool) Text {
	if indexed {
		return GeneratedName(Pattern(OrdinalName(job).Pattern + "-"))
	}
	if job.known() {
		return GeneratedName(Literal(job.Value + "-"))
	}
	return GeneratedName(Pattern(job.regexp() + "-"))
}

// serviceRules allow the variables that a cluster gives every container for its services: those of the service "kubernetes"
// always, those of the others where links are enabled.
func serviceRules(links *bool) []EnvRule {
	service := "KUBERNETES"
	if links == nil || *links {
		service = "[A-Z0-9][A-Z0-9_]*"
	}
	host, protocol := "(?:"+patternIP+")", "(?:tcp|udp|sctp)"
	url := protocol + `://(?:` + patternIPv4 + `|\[` + patternIPv6 + `\]):` + patternPort
	port := service + "_PORT_" + patternPort + "_(?:TCP|UDP|SCTP)"
	rules := []EnvRule{}
	for _, p := range []string{
		service + "_SERVICE_HOST=" + host,
		service + "_SERVICE_PORT(?:_[A-Z0-9_]+)?=" + patternPort,
		service + "_PORT=" + url,
		port + "=" + url,
		port + "_PROTO=" + protocol,
		port + "_PORT=" + patternPort,
		port + "_ADDR=" + host,
	} {
		rules = append(rules, EnvRule{Pattern: p, Strategy: "re2"})
	}
	return rules
}

// serviceVariable has the names that those rules speak of.
var serviceVariable = regexp.MustCompile(`^[A-Z0-9][A-Z0-9_]*_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$`)

// mayBeService tells whether the cluster may set a variable of that name.
func mayBeService(name string, links *bool) bool {
	return serviceVariable.MatchString(name) && (links == nil || *links || strings.HasPrefix(name, "KUBERNETES_"))
}

// controllerLabels are labels that Kubernetes itself sets on a pod.
var controllerLabels = map[string]string{
	"pod-template-hash":                        suffixLetters + `{1,10}`,
	"controller-revision-hash":                 patternValue,
	"pod-template-generation":                  patternIndex,
	"statefulset.kubernetes.io/pod-name":       patternDNS,
	"apps.kubernetes.io/pod-index":             patternIndex,
	"job-name":                                 patternLabel,
	"controller-uid":                           patternUID,
	"batch.kubernetes.io/job-name":             patternLabel,
	"batch.kubernetes.io/controller-uid":       patternUID,
	"batch.kubernetes.io/job-completion-index": patternIndex,
	"topology.kubernetes.io/region":            patternValue,
	"topology.kubernetes.io/zone":              patternValue,
}

// Where the API server mounts the token of a service account.
const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// automounts tells whether the token is mounted: the pod's own word, else its service account's, else yes.
func (c *Cluster) automounts(spec *corev1.PodSpec) bool {
	if spec.AutomountServiceAccountToken != nil {
		return *spec.AutomountServiceAccountToken
	}
	if said, ok := c.Automount[serviceAccount(spec)]; ok {
		return said
	}
	return true
}

func serviceAccount(spec *corev1.PodSpec) string {
	switch {
	case spec.ServiceAccountName != "":
		return spec.ServiceAccountName
	case spec.DeprecatedServiceAccount != "":
		return spec.DeprecatedServiceAccount
	}
	return "default"
}
