{{/* Names and labels of every object. */}}

{{- define "couplet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: KubeRay and Kubernetes append to it. */}}
{{- define "couplet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "couplet.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "couplet.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "couplet.runId" -}}
{{- default (include "couplet.fullname" .) .Values.run.id -}}
{{- end -}}

{{- define "couplet.runFolder" -}}
{{- printf "%s/%s" .Values.storage.mountPath (include "couplet.runId" .) -}}
{{- end -}}

{{/* What selects the pods of a component. Of (dict "root" $ "component" NAME). */}}
{{- define "couplet.selector" -}}
app.kubernetes.io/name: {{ include "couplet.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of a pod: nothing that changes with the chart's version, as a changed pod is a restarted one. Of (dict "root" $ "component" NAME). */}}
{{- define "couplet.podLabels" -}}
{{ include "couplet.selector" . }}
app.kubernetes.io/part-of: couplet
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of an object. Of (dict "root" $ "component" NAME). */}}
{{- define "couplet.labels" -}}
{{ include "couplet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: couplet
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "couplet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "couplet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "couplet.claimName" -}}
{{- default (printf "%s-runs" (include "couplet.fullname" .)) .Values.storage.existingClaim -}}
{{- end -}}

{{/* A generated secret keeps its value: what the cluster holds wins. Of (dict "root" $ "name" NAME "key" KEY). */}}
{{- define "couplet.keptOrRandom" -}}
{{- $kept := dig "data" .key "" (lookup "v1" "Secret" .root.Release.Namespace .name | default dict) -}}
{{- default (randAlphaNum 40 | b64enc) $kept -}}
{{- end -}}
