package arm

import (
	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape"
)

var (
	platform = "for the platform; no effect"

	probe = []shape.Spec{
		shape.Object("exec", "a command that may be started inside", shape.Texts("command", "its words")),
	}
	probeRest = shape.Ignored("when and how the platform asks; no effect",
		"failureThreshold", "httpGet", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds")

	security = shape.Object("securityContext", "what the processes may",
		shape.Bool("privileged", "allow_elevated and its mounts and capabilities"),
		shape.Bool("allowPrivilegeEscalation", "its negation is no_new_privileges"),
		shape.Object("capabilities", "over the default set", shape.Texts("add", "names to add"), shape.Texts("drop", "names to drop")),
		shape.Whole("runAsUser", "user id"),
		shape.Whole("runAsGroup", "group id"),
		shape.Text("seccompProfile", "base64 of the profile's JSON"),
	)

	container = []shape.Spec{
		shape.Text("name", "name of the container"),
		shape.Object("properties", "what runs in it", shape.With([]shape.Spec{
			shape.Text("image", "image reference; must be known"),
			shape.Texts("command", "replaces the image's entry point and arguments"),
			shape.List("environmentVariables", "environment rules",
				shape.Text("name", "name; must be known"),
				shape.Text("value", "value"),
				shape.Text("secureValue", "value that is never shown"),
				shape.Any("secureValueReference", "value known at deployment time only")),
			shape.List("volumeMounts", "mounts",
				shape.Text("name", "a volume of the group"),
				shape.Text("mountPath", "destination; must be known"),
				shape.Bool("readOnly", "ro instead of rw")),
			shape.Object("livenessProbe", "of a probe only its command counts", shape.With(probe, probeRest)...),
			shape.Object("readinessProbe", "of a probe only its command counts", shape.With(probe, probeRest)...),
			security,
			shape.Object("configMap", "mounted at /mnt/configmap", shape.Ignored("contents; no effect", "keyValuePairs")...),
		}, shape.Ignored(platform, "ports", "resources", "instanceView"))...),
	}

	groupVolumes = shape.List("volumes", "what volumeMounts name; the kind decides the source of the mount",
		shape.Text("name", "name of the volume"),
		shape.Any("azureFile", "a share of Azure Files"),
		shape.Any("emptyDir", "an empty directory"),
		shape.Any("gitRepo", "a repository's files"),
		shape.Any("secret", "files with secrets"),
		shape.Any("secretReference", "files with secrets of the group's secretReferences"),
	)

	properties = shape.Object("properties", "the group", shape.With([]shape.Spec{
		shape.Text("osType", "Linux; Windows is refused"),
		shape.Object("confidentialComputeProperties", "where the policy is", shape.Lenient("ccePolicy", "the present policy, base64")),
		shape.List("containers", "the containers", container...),
		shape.List("initContainers", "containers that run before the others; appended", container...),
		groupVolumes,
		shape.Any("containerGroupProfile", "the profile that the containers come from; such a group has no policy of its own"),
	}, shape.Ignored(platform, "diagnostics", "dnsConfig", "encryptionProperties", "extensions", "identityAcls", "imageRegistryCredentials",
		"instanceView", "ipAddress", "isCreatedFromStandbyPool", "isCustomProvisioningTimeout", "networkProfile", "priority", "provisioningState",
		"provisioningTimeoutInSeconds", "registeredRevisions", "restartPolicy", "revision", "secretReferences", "shutdownGracePeriod",
		"sku", "standbyPoolProfile", "subnetIds", "timeToLive", "useKrypton"))...)

	// resource is a container group or a profile of one.
	resource = shape.Object("resources", "Microsoft.ContainerInstance/containerGroups and containerGroupProfiles", shape.With([]shape.Spec{
		shape.Text("type", "what the resource is"),
		shape.Text("name", "name of the group"),
		shape.Any("condition", "a group whose condition is false is left out; one that is not known, or false by a default value only, is not"),
		shape.Any("copy", "a loop: one group each"),
		shape.Any("resources", "resources inside; groups are looked for"),
		properties,
	}, shape.Ignored(platform, "apiVersion", "asserts", "comments", "dependsOn", "id", "identity", "kind", "location", "managedBy", "metadata", "plan", "scope", "sku",
		"systemData", "tags", "zones"))...)

	deployment = shape.Object("resources", "Microsoft.Resources/deployments", shape.With([]shape.Spec{
		shape.Text("type", "what the resource is"),
		shape.Any("condition", "as for a group"),
		shape.Any("copy", "a loop: one deployment each"),
		shape.Object("properties", "the deployment", shape.With([]shape.Spec{
			shape.Any("template", "a template inside this one; groups are looked for"),
			shape.Object("expressionEvaluationOptions", "whose parameters and variables expressions mean", shape.Text("scope", "inner or outer (default)")),
			shape.Any("parameters", "values for the inner template"),
			shape.Refused("templateLink", "the template is somewhere else: run the generator on that file, or put the template inline"),
			shape.Refused("parametersLink", "the parameters are somewhere else: put them inline"),
		}, shape.Ignored(platform, "mode", "debugSetting", "onErrorDeployment", "validationLevel"))...),
	}, shape.Ignored(platform, "apiVersion", "comments", "dependsOn", "id", "identity", "location", "metadata", "name", "resourceGroup", "scope", "subscriptionId", "tags"))...)

	document = shape.Object("", "a template", shape.With([]shape.Spec{
		shape.Any("parameters", "their values come from parameters files, else from defaultValue; without either one is a wildcard"),
		shape.Any("variables", "evaluated where they are used, with their copy loops"),
		shape.Any("functions", "functions of the template, evaluated where they are called"),
		shape.Any("resources", "an array, or an object of symbolic names; groups are looked for, also inside other resources"),
	}, shape.Ignored(platform, "$schema", "apiProfile", "asserts", "contentVersion", "definitions", "extensions", "imports", "languageVersion", "metadata", "outputs"))...)

	parametersFile = shape.Object("", "a parameters file", shape.With([]shape.Spec{
		shape.Any("parameters", "value, or reference to a key vault: a wildcard"),
	}, shape.Ignored(platform, "$schema", "contentVersion", "metadata", "extensionConfigs", "externalInputDefinitions"))...)

	parameter = shape.Object("", "a parameter", shape.With([]shape.Spec{
		shape.Text("type", "string, secureString, int, bool, object, secureObject or array; the secure ones are never shown"),
		shape.Any("defaultValue", "the value where no file gives one"),
		shape.Any("allowedValues", "a value that is none of these is refused"),
		shape.Bool("nullable", "without a value it is null"),
	}, shape.Ignored("a bound on values; no effect", "$ref", "additionalProperties", "discriminator", "items", "maxLength", "maxValue", "metadata", "minLength",
		"minValue", "pattern", "prefixItems", "properties", "sealed"))...)
)

// Fields returns what Read understands of a template: the document, and below resources[] a group; deployments have a prefix.
func Fields() []workload.Field {
	fields := append(document.Fields(""), parameter.Fields("parameters.*")...)
	fields = append(fields, resource.Fields("resources[]")...)
	return append(fields, prefixed("deployments: ", deployment.Fields("resources[]"))...)
}

func prefixed(prefix string, fields []workload.Field) []workload.Field {
	for i := range fields {
		fields[i].Path = prefix + fields[i].Path
	}
	return fields
}

// ParametersFields returns what Read understands of a parameters file.
func ParametersFields() []workload.Field { return parametersFile.Fields("") }
