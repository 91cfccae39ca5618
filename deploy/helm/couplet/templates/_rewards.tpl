{{- define "couplet.rewardsName" -}}
{{- printf "%s-rewards" (include "couplet.fullname" .) -}}
{{- end -}}

{{- define "couplet.tokenSecret" -}}
{{- default (printf "%s-token" (include "couplet.rewardsName" .)) .Values.rewards.token.name -}}
{{- end -}}

{{/* Security context of the reward service's pod: what the chosen isolation of programs takes (docs/kubernetes.md). */}}
{{- define "couplet.rewardsPodSecurity" -}}
{{- $rewards := .Values.rewards -}}
{{- range $field := list "hostNetwork" "hostIPC" -}}{{- if get $rewards $field -}}
{{- if eq $rewards.isolation "uid" -}}{{- fail (printf "rewards.%s: with rewards.isolation uid the programs that models wrote would use the node's as well; set rewards.isolation=namespaces" $field) -}}{{- end -}}
{{- if not $rewards.hostUsers -}}{{- fail (printf "rewards.%s: Kubernetes refuses it for a pod with a user namespace; set rewards.hostUsers=true" $field) -}}{{- end -}}
{{- end -}}{{- end -}}
{{- if and $rewards.hostNetwork $rewards.networkPolicy.enabled -}}
{{- fail "rewards.hostNetwork: no NetworkPolicy holds in the node's network; set rewards.networkPolicy.enabled=false" -}}
{{- end -}}
{{- if eq $rewards.isolation "uid" -}}
{{- if regexMatch "gvisor|runsc" (default "" $rewards.runtimeClassName) -}}
{{- fail "rewards.runtimeClassName: gVisor has no Landlock, without which rewards.isolation uid does not start; set rewards.isolation=namespaces" -}}
{{- end -}}
{{- if not .Values.fixedIds -}}
{{- fail "fixedIds: rewards.isolation uid runs the reward service as root; set rewards.isolation=namespaces, or leave fixedIds true" -}}
{{- end -}}
{{- $root := dict "runAsNonRoot" false "runAsUser" 0 "runAsGroup" 0 "seccompProfile" (default (dict "type" "RuntimeDefault") $rewards.seccompProfile) -}}
{{- include "couplet.podSecurity" (dict "root" . "ids" dict "security" $root "pod" $rewards) -}}
{{- else -}}
{{- $profile := dict "seccompProfile" (default (dict "type" "Unconfined") $rewards.seccompProfile) -}}
{{- include "couplet.podSecurity" (dict "root" . "ids" (dict "runAsUser" 10001 "runAsGroup" 10001) "security" $profile "pod" $rewards) -}}
{{- end -}}
{{- end -}}

{{- define "couplet.rewardsContainerSecurity" -}}
{{- $made := dict "readOnlyRootFilesystem" true -}}
{{- if eq .Values.rewards.isolation "uid" -}}
{{- /* To give programs ids and folders of their own, and to end them. */ -}}
{{- $_ := set $made "capabilities" (dict "add" (list "CHOWN" "DAC_OVERRIDE" "KILL" "SETGID" "SETUID")) -}}
{{- end -}}
{{- include "couplet.containerSecurity" (dict "security" $made "pod" .Values.rewards) -}}
{{- end -}}
