# What faults are planted with. Each function changes one kind of thing, and first notes in $JOURNAL
# how to bring back what was there; `undo` does that, from the last line to the first. What is noted
# may be done twice, and also when somebody has repaired the fault by hand meanwhile.
set -eu

note() {
    [ -d "${JOURNAL%/*}" ] || mkdir "${JOURNAL%/*}"
    printf '%s\n' "$*" >>"$JOURNAL"
}

undo() {
    [ -e "$JOURNAL" ] || return 0
    eval "$(tac "$JOURNAL")"
    rm "$JOURNAL"
}

need() { # WHAT COMMAND...: without it the fault would change nothing
    what=$1
    shift
    "$@" >/dev/null 2>&1 || { echo "$what" >&2; exit 66; }
}

# sysctls
keep_sysctl() { note "sysctl -qw $1='$(sysctl -n "$1")'"; }

set_sysctl() { # NAME=VALUE...
    for pair; do
        keep_sysctl "${pair%%=*}"
        sysctl -qw "$pair"
    done
}

turn_sysctl() { # NAME=VALUE, where it has another
    need "another value of ${1%%=*} than ${1#*=}" [ "$(sysctl -n "${1%%=*}")" != "${1#*=}" ]
    set_sysctl "$1"
}

forward() { # ON_OR_OFF; the kernel changes accept_redirects along with it
    keep_sysctl net.ipv4.conf.all.accept_redirects
    set_sysctl "net.ipv4.ip_forward=$1"
}

# links
set_link() { # LINK WORD VALUE BEFORE
    note "ip link set $1 $2 $4"
    ip link set "$1" "$2" "$3"
}

set_mtu() { set_link "$1" mtu "$2" "$(cat "/sys/class/net/$1/mtu")"; }

down() { # LINK, which forgets what it has of IPv6
    ip -6 route show dev "$1" | grep -v 'proto kernel' | while read -r route; do
        note "ip -6 route replace $route dev $1"
    done
    ip -6 -o address show dev "$1" scope global | grep -o 'inet6 [^ ]*' |
        while read -r _ address; do note "ip -6 address replace $address dev $1"; done
    note "ip link set $1 up"
    ip link set "$1" down
}

second_nic() { # a NIC that leads nowhere, as one of a management network does here
    note "without_link eth-other"
    ip link add eth-other type dummy
    ip address add 192.0.2.4/24 dev eth-other
    ip link set eth-other up
}

without_link() { [ ! -e "/sys/class/net/$1" ] || ip link del "$1"; }

# addresses
addresses_of() { # LINK: ADDRESS/LENGTH [brd BROADCAST] scope SCOPE, one per line
    ip -4 -o address show dev "$1" |
        sed -E 's/.* inet ([^ ]+) (brd [^ ]+ )?scope ([^ ]+).*/\1 \2scope \3/'
}

keep_addresses() { # LINK
    note "addresses $1 '$(addresses_of "$1" | paste -sd ,)'"
}

addresses() { # LINK LIST: these, in this order; what stands before the first difference stays
    [ -e "/sys/class/net/$1" ] || return 0
    have=$(addresses_of "$1")
    want=$(echo "$2" | tr , '\n')
    while [ -n "$have$want" ] && [ "$(echo "$have" | head -n 1)" = "$(echo "$want" | head -n 1)" ]; do
        have=$(echo "$have" | tail -n +2)
        want=$(echo "$want" | tail -n +2)
    done
    echo "$have" | while read -r address _; do
        [ -z "$address" ] || ip address del "$address" dev "$1"
    done
    echo "$want" | while read -r words; do
        # shellcheck disable=SC2086
        [ -z "$words" ] || ip address add $words dev "$1"
    done
}

has_address() { [ -n "$(ip -4 -o address show dev "$1" to "$2/32")" ]; }

take_address() { # LINK ADDRESS
    need "the address $2 on its link $1" has_address "$1" "$2"
    keep_addresses "$1"
    ip address del "$(addresses_of "$1" | grep -o "^$2/[0-9]*")" dev "$1"
}

give_address() { # LINK ADDRESS/LENGTH
    keep_addresses "$1"
    ip address add "$2" dev "$1"
}

# routes
keep_routes() { # those that no address brings along
    ip -4 route show | grep -v 'proto kernel' | sed 's/ linkdown//' | while read -r route; do
        note "ip route replace $route"
    done
}

add_route() {
    note "without_route $*"
    ip route add "$@"
}

without_route() { ip route del "$@" 2>/dev/null || [ -z "$(ip route show "$@")" ]; }

add_policy() {
    note "without_policy $*"
    ip rule add "$@"
}

without_policy() { [ -z "$(ip rule show "$@")" ] || ip rule del "$@"; }

# neighbours
wrong_neighbour() { # ADDRESS MAC
    before=$(ip neigh show to "$1" dev eth0 nud permanent | grep -o 'lladdr [^ ]*' || :)
    note "without_neighbour $1 ${before:+; ip neigh replace $1 $before dev eth0 nud permanent}"
    ip neigh replace "$1" lladdr "$2" dev eth0 nud permanent
}

without_neighbour() { [ -z "$(ip neigh show to "$1" dev eth0)" ] || ip neigh del "$1" dev eth0; }

# rules of the host's firewall
rule() { # TABLE CHAIN MATCH...: before all others
    table=$1
    shift
    note "without_rule $table $*"
    iptables-legacy -w -t "$table" -I "$@"
}

without_rule() {
    table=$1
    shift
    ! iptables-legacy -w -t "$table" -C "$@" 2>/dev/null ||
        iptables-legacy -w -t "$table" -D "$@"
}

# rules for ARP
keep_arptables() { # CHAIN
    arptables-legacy -L "$1" -n | sed 1d | while read -r rule; do
        [ -z "$rule" ] || note "arptables-legacy -I $1 $rule" # the last first: undone from the end
    done
    note "arptables-legacy -F $1"
}

arp_rules() { # CHAIN [MATCH...]: this one alone
    keep_arptables "$1"
    arptables-legacy -F "$1"
    [ $# = 1 ] || arptables-legacy -A "$@"
}

# virtual services
service() { # the VIP's service for $PORT/tcp, else its first: sets $service and $setting
    found=$(ipvsadm -Sn | sed -n "s/^-A //p" | grep -e " $VIP:" | sort || :)
    one=$(echo "$found" | grep -e "^-t $VIP:$PORT " || :)
    one=${one:-$(echo "$found" | head -n 1)}
    service=$(echo "$one" | cut -d ' ' -f 1,2)
    setting=$(echo "$one" | cut -d ' ' -f 3-)
    need "a virtual service of the VIP $VIP" [ -n "$one" ]
}

has_service() { ipvsadm -Sn | grep -q -e "^-A $* "; }

destinations() { # how ipvsadm says those of $service, one per line
    ipvsadm -Sn | sed -n "s/^-a $service -r //p"
}

destination() { # the first of them: sets $server (ADDRESS:PORT) and $how
    service
    one=$(destinations | head -n 1)
    need "a destination of $service" [ -n "$one" ]
    server=${one%% *}
    how=${one#* }
}

keep_destinations() {
    destinations | while read -r one; do note "with_destination $service -r $one"; done
}

with_service() { ipvsadm -A "$@" 2>/dev/null || ipvsadm -E "$@"; }

with_destination() { ipvsadm -a "$@" 2>/dev/null || ipvsadm -e "$@"; }

without_destination() { # PROTOCOL SERVICE -r SERVER
    ! ipvsadm -Sn | grep -q -e "^-a $* " || ipvsadm -d "$@"
}

without_service() { ! has_service "$@" || ipvsadm -D "$@"; }

new_service() { # DESTINATION
    note "without_service -t $VIP:$PORT"
    ipvsadm -A -t "$VIP:$PORT" -s rr
    ipvsadm -a -t "$VIP:$PORT" -r "$1" -g
}

# the segment, which sees every frame
frames() { # RULE...: of a table of the fault's own, asked before what others forward
    note "without_table $TABLE"
    {
        echo "table bridge $TABLE {"
        echo " chain forwarded {"
        echo "  type filter hook forward priority -10"
        printf '  %s\n' "$@"
        printf ' }\n}\n'
    } | nft -f -
}

without_table() { ! nft list table bridge "$1" >/dev/null 2>&1 || nft delete table bridge "$1"; }

# the lab's responder
responder() { # [OPTION...]: in its place one with these options
    keep_responder
    restart "$@"
}

silence_responder() {
    keep_responder
    stop
}

keep_responder() {
    need "the lab's responder, which is not running" alive
    note restart
}

restart() {
    stop
    $RESPONDER --background "$@"
}

alive() { kill -0 "$(cat /run/responder.pid)"; }

stop() {
    [ -e /run/responder.pid ] || return 0
    pid=$(cat /run/responder.pid)
    rm /run/responder.pid
    ! kill "$pid" 2>/dev/null || while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}
