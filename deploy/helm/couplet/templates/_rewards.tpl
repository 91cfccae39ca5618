{{- define "couplet.rewardsName" -}}
{{- printf "%s-rewards" (include "couplet.fullname" .) -}}
{{- end -}}

{{- define "couplet.tokenSecret" -}}
{{- default (printf "%s-token" (include "couplet.rewardsName" .)) .Values.rewards.token.name -}}
{{- end -}}

{{/* Security context of the reward service's pod: what the chosen isolation of programs takes (docs/kubernetes.md). */}}
{{- define "couplet.rewardsPodSecurity" -}}
{{- $rewards := .Values.rewards -}}
{{- if eq $rewards.isolation "uid" -}}
runAsNonRoot: false
runAsUser: 0
runAsGroup: 0
seccompProfile: {{- toYaml (default (dict "type" "RuntimeDefault") $rewards.seccompProfile) | nindent 2 }}
{{- else -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile: {{- toYaml (default (dict "type" "Unconfined") $rewards.seccompProfile) | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "couplet.rewardsContainerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- if eq .Values.rewards.isolation "uid" }}
  # To give programs ids and folders of their own, and to end them.
  add: [CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID]
{{- end }}
{{- end -}}
