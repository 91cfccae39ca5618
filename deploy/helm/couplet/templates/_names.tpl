{{/* Names and labels of every object. */}}

{{- define "couplet.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/* At most 40 characters, as KubeRay and Kubernetes append to it; long names that differ at their ends alone stay apart. */}}
{{- define "couplet.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = .Release.Name -}}
{{- if not (contains (include "couplet.name" .) $name) -}}{{- $name = printf "%s-%s" $name (include "couplet.name" .) -}}{{- end -}}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $name) -}}
{{- fail (printf "fullnameOverride: the release is named %s, but names of Services begin with a letter and have no dot; set such a name" .Release.Name) -}}
{{- end -}}
{{- if gt (len $name) 40 -}}{{- $name = printf "%s-%s" (trunc 33 $name | trimSuffix "-") (sha256sum $name | trunc 6) -}}{{- end -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "couplet.runId" -}}
{{- if eq (default "" .Values.run.id) "huggingface" -}}{{- fail "run.id: huggingface is the folder of the model cache; choose another name" -}}{{- end -}}
{{- default (include "couplet.fullname" .) .Values.run.id -}}
{{- end -}}

{{- define "couplet.runFolder" -}}
{{- if regexMatch "^/(bin|dev|etc|home|home/couplet|lib|lib64|opt|opt/couplet|opt/venv|proc|root|run|sbin|sys|tmp|usr|var)$" .Values.storage.mountPath -}}
{{- fail (printf "storage.mountPath: a volume at %s hides what the image has there; choose another folder, such as /runs" .Values.storage.mountPath) -}}
{{- end -}}
{{- printf "%s/%s" .Values.storage.mountPath (include "couplet.runId" .) -}}
{{- end -}}

{{/* What selects the pods of the release. */}}
{{- define "couplet.release" -}}
app.kubernetes.io/name: {{ include "couplet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What selects the pods of a component. Of (dict "root" $ "component" NAME). */}}
{{- define "couplet.selector" -}}
{{ include "couplet.release" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* A mapping to which values may add, but of which they may change nothing. Of (list WHERE OWN MORE...): of the further
mappings, or nulls, later ones are stronger. */}}
{{- define "couplet.added" -}}
{{- $own := index . 1 -}}{{- $all := dict -}}
{{- range slice . 2 -}}{{- $all = mergeOverwrite $all (deepCopy (default dict .)) -}}{{- end -}}
{{- range $key, $_ := $all -}}
{{- if hasKey $own $key -}}{{- fail (printf "%s: %s is set by the chart; leave it out" (index $ 0) $key) -}}{{- end -}}
{{- end -}}
{{- toYaml (merge $all $own) -}}
{{- end -}}

{{/* Labels of a pod: nothing that changes with the chart's version, as a changed pod is a restarted one.
Of (dict "root" $ "component" NAME "labels" MORE). */}}
{{- define "couplet.podLabels" -}}
{{- $own := merge (dict "app.kubernetes.io/part-of" "couplet") (include "couplet.selector" . | fromYaml) -}}
{{- include "couplet.added" (list "labels, commonLabels" $own .root.Values.commonLabels .labels) -}}
{{- end -}}

{{/* Labels of an object. Of (dict "root" $ "component" NAME "labels" MORE). */}}
{{- define "couplet.labels" -}}
{{- $own := include "couplet.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "couplet" -}}
{{- $_ := set $own "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- include "couplet.added" (list "labels, commonLabels" $own .root.Values.commonLabels .labels) -}}
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
