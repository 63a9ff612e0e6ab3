#include <stdio.h>
#define LITRES 400

/* opens the valve */
int main(void)
{
    printf("shut the tap\n");
    return 0;
}
